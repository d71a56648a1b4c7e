# Fidelity: DUP
"""Allocation flags that HugeTLB passes (include/linux/gfp_types.h); the values are our own."""

from __future__ import annotations

from typing import Final

_GFP_HIGHMEM: Final = 1 << 0
_GFP_MOVABLE: Final = 1 << 1
_GFP_IO: Final = 1 << 2
_GFP_FS: Final = 1 << 3
_GFP_DIRECT_RECLAIM: Final = 1 << 4
_GFP_KSWAPD_RECLAIM: Final = 1 << 5
_GFP_NOWARN: Final = 1 << 6
_GFP_RETRY_MAYFAIL: Final = 1 << 7
_GFP_NOFAIL: Final = 1 << 8
_GFP_NORETRY: Final = 1 << 9
_GFP_COMP: Final = 1 << 10
_GFP_HARDWALL: Final = 1 << 11
_GFP_THISNODE: Final = 1 << 12
_GFP_ACCOUNT: Final = 1 << 13

_GFP_RECLAIM: Final = _GFP_DIRECT_RECLAIM | _GFP_KSWAPD_RECLAIM
GFP_KERNEL: Final = _GFP_RECLAIM | _GFP_IO | _GFP_FS
GFP_USER: Final = GFP_KERNEL | _GFP_HARDWALL
GFP_HIGHUSER: Final = GFP_USER | _GFP_HIGHMEM
GFP_HIGHUSER_MOVABLE: Final = GFP_HIGHUSER | _GFP_MOVABLE
