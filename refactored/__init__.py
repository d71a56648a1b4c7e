"""mm/hugetlb.c after the series."""
