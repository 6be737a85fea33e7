//! Executes network plans: netlink, nftables, DNS; address pools and host ports; undo.
