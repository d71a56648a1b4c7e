"""The kernel around mm/hugetlb.c, each file labelled by fidelity."""
