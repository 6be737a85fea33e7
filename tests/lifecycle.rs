//! Crashes, restarts, and what must survive them.

mod cgroup2;
mod recovery;
mod side_by_side;
