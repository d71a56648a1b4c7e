"""mm/hugetlb.c before the series."""
