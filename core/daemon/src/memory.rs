//! The allocator's settings: an engine that is idle should look idle.

/// Two arenas are enough for two worker threads; more of them only keep memory that nobody uses.
pub fn few_arenas() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes integers and is called before any other thread exists.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}
