//! The network suite over this driver.

sheave_conformance::network_suite!(sheave_network_bridge::linked());
