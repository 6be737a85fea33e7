//! The hook bus: typed operations, ordered dispatch, deadlines.
