//! Content store, pull, unpack, image records.
