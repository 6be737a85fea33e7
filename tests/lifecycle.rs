//! Crashes, restarts, and what must survive them.

mod recovery;
mod side_by_side;
