//! How long a start takes. Prints, and judges nothing: the machine may be busy.

use std::time::{Duration, Instant};

use sheave_shim::protocol::*;

use crate::harness::*;

#[test]
fn start_times() {
    let bench = Bench::new(&["true"]);
    let mut times: [Vec<Duration>; 4] = Default::default();
    for _ in 0..20 {
        let begin = Instant::now();
        let mut running = bench.begin();
        let launched = begin.elapsed();
        running.go();
        running.started().expect("start");
        let started = begin.elapsed();
        assert!(matches!(running.shim.receive().expect("exit"), FromShim::Exited(_)));
        let exited = begin.elapsed();
        running.release();
        for (list, time) in times.iter_mut().zip([launched, started, exited, begin.elapsed()]) {
            list.push(time);
        }
    }
    for (name, mut list) in ["shim listens", "program runs", "exit known", "all gone"].into_iter().zip(times) {
        list.sort();
        eprintln!("{name}: least {:?}, median {:?}", list[0], list[list.len() / 2]);
    }
    let running = Bench::new(&["sleep", "1000"]);
    let container = running.start();
    let mut execs: Vec<Duration> = (0..20)
        .map(|_| {
            let begin = Instant::now();
            container.exec(process(&["true"]), Seccomp::Init).expect("exec");
            begin.elapsed()
        })
        .collect();
    execs.sort();
    eprintln!("exec of true, to its exit: least {:?}, median {:?}", execs[0], execs[10]);
    container.finish();
}
