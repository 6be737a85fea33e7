//! Snapshots as plain directory copies.
