//! Times, CPU time of the machine, medians, and the table.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use crate::engines::Kind;

/// Seconds that `work` takes.
pub(crate) fn time(work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    started.elapsed().as_secs_f64()
}

/// Busy seconds of all processors while `work` runs and until the machine rests again.
pub(crate) fn busy(work: impl FnOnce()) -> f64 {
    let before = ticks();
    work();
    let mut last = ticks();
    loop {
        sheave_tests::pause(Duration::from_millis(50));
        let now = ticks();
        if now - last <= 1 {
            break;
        }
        last = now;
    }
    #[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
    let seconds = (last - before) as f64 / 100.0;
    seconds
}

/// User, nice, system, irq and softirq ticks of a hundredth of a second.
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").expect("/proc/stat");
    let cpu = stat.lines().next().expect("the first line of /proc/stat");
    let values: Vec<u64> = cpu.split_whitespace().skip(1).filter_map(|v| v.parse().ok()).collect();
    [0, 1, 2, 5, 6].iter().filter_map(|n| values.get(*n)).sum()
}

/// Values of one measurement.
#[derive(Clone, Default)]
pub(crate) struct Series(Vec<f64>);

impl Series {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// Results by measurement and engine.
#[derive(Default)]
pub(crate) struct Table {
    order: Vec<String>,
    rows: BTreeMap<String, (BTreeMap<Kind, f64>, &'static str)>,
}

impl Table {
    pub(crate) fn row(&mut self, what: &str, engine: Kind, value: f64, unit: &'static str) {
        eprintln!("{what}: {engine} {value:.2} {unit}");
        if !self.rows.contains_key(what) {
            self.order.push(what.to_owned());
        }
        self.rows.entry(what.to_owned()).or_insert_with(|| (BTreeMap::new(), unit)).0.insert(engine, value);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | Sheave | dockerd | podman | Sheave : dockerd |")?;
        writeln!(f, "|---|---|---|---|---|")?;
        for what in &self.order {
            let (values, unit) = &self.rows[what];
            let cell = |kind| values.get(&kind).map_or_else(|| "–".to_owned(), |v| format!("{v:.2} {unit}"));
            let ratio = match (values.get(&Kind::Sheave), values.get(&Kind::Dockerd)) {
                (Some(ours), Some(theirs)) if *ours > 0.0 && ours < theirs => format!("1 : {:.1}", theirs / ours),
                (Some(ours), Some(theirs)) if *theirs > 0.0 => format!("{:.1} : 1", ours / theirs),
                _ => String::new(),
            };
            writeln!(
                f,
                "| {what} | {} | {} | {} | {ratio} |",
                cell(Kind::Sheave),
                cell(Kind::Dockerd),
                cell(Kind::Podman)
            )?;
        }
        Ok(())
    }
}
