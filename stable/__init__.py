"""Functions of mm/hugetlb.c as they stand in 6.12.117 where they differ from v6.12-rc3."""
