//! Executes storage and volume plans: actions, mounts, copy-up, usage, undo.
