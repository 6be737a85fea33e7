//! The reader against files that grow, rotate and end.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use tokio::sync::oneshot;

use super::*;
use crate::io::mux::Framing;
use crate::time::Timestamp;

fn line(n: usize, stream: &str) -> String {
    let time = Timestamp::from_nanos(1_700_000_000_000_000_000 + n as i64);
    format!("{{\"log\":\"{n}\\n\",\"stream\":\"{stream}\",\"time\":\"{time}\"}}\n")
}

fn append(path: &Path, text: &str) {
    fs::OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

fn rotate(path: &Path, keep: usize) {
    for n in (0..keep).rev() {
        let _ = fs::rename(files::numbered(path, n), files::numbered(path, n + 1));
    }
    let _ = fs::remove_file(files::numbered(path, keep + 1));
    fs::write(path, "").unwrap();
}

async fn collect(mut receiver: mpsc::Receiver<Result<Bytes, std::io::Error>>) -> String {
    let mut out = Vec::new();
    while let Some(piece) = receiver.recv().await {
        out.extend_from_slice(&piece.unwrap());
    }
    String::from_utf8(out).unwrap()
}

async fn all(path: &Path, query: Query) -> String {
    collect(read(path.to_owned(), query, std::future::ready(()))).await
}

fn raw() -> Query {
    Query::all(Framing::Raw)
}

#[tokio::test]
async fn tail_reaches_over_rotated_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x-json.log");
    for n in 0..9 {
        if n % 3 == 0 && n > 0 {
            rotate(&path, 3);
        }
        append(&path, &line(n, "stdout"));
    }
    for (tail, expected) in [
        (Tail::All, "0\n1\n2\n3\n4\n5\n6\n7\n8\n"),
        (Tail::Last(0), ""),
        (Tail::Last(1), "8\n"),
        (Tail::Last(3), "6\n7\n8\n"),
        (Tail::Last(4), "5\n6\n7\n8\n"),
        (Tail::Last(100), "0\n1\n2\n3\n4\n5\n6\n7\n8\n"),
    ] {
        assert_eq!(all(&path, Query { tail, ..raw() }).await, expected, "{tail:?}");
    }
}

#[tokio::test]
async fn bounds_streams_and_prefixes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x-json.log");
    append(&path, &line(0, "stdout"));
    append(&path, "torn{\n");
    append(&path, &line(1, "stderr"));
    append(&path, &line(2, "stdout"));
    append(&path, "{\"log\":\"half");
    let at = |n: i64| Some(Timestamp::from_nanos(1_700_000_000_000_000_000 + n));
    assert_eq!(all(&path, raw()).await, "0\n1\n2\n");
    assert_eq!(all(&path, Query { stderr: false, ..raw() }).await, "0\n2\n");
    assert_eq!(all(&path, Query { since: at(1), ..raw() }).await, "1\n2\n");
    assert_eq!(all(&path, Query { until: at(1), ..raw() }).await, "0\n1\n");
    assert_eq!(all(&path, Query { since: at(1), until: at(1), ..raw() }).await, "1\n");
    let stamped = all(&path, Query { timestamps: true, tail: Tail::Last(1), ..raw() }).await;
    assert_eq!(stamped, "2023-11-14T22:13:20.000000002Z 2\n");
    let framed = all(&path, Query { tail: Tail::Last(2), ..Query::all(Framing::Multiplexed) }).await;
    assert_eq!(framed, "\u{2}\0\0\0\0\0\0\u{2}1\n\u{1}\0\0\0\0\0\0\u{2}2\n");
    assert_eq!(all(&dir.path().join("none"), raw()).await, "");
}

#[tokio::test]
async fn follow_survives_rotation_and_ends_at_stop() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x-json.log");
    append(&path, &line(0, "stdout"));
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async {
        let _ = stopped.await;
    };
    let reader = read(path.clone(), Query { follow: true, ..raw() }, stopped);
    let following = tokio::spawn(collect(reader));
    for n in 1..200 {
        if n % 5 == 0 {
            rotate(&path, 100);
        }
        append(&path, &line(n, "stdout"));
        if n % 17 == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    stop.send(()).unwrap();
    let expected: String = (0..200).map(|n| format!("{n}\n")).collect();
    assert_eq!(following.await.unwrap(), expected);
}

#[tokio::test]
async fn follow_waits_for_the_file_and_its_truncation() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x-json.log");
    let mut reader = read(path.clone(), Query { follow: true, ..raw() }, std::future::pending());
    append(&path, &line(0, "stdout"));
    append(&path, &line(1, "stdout"));
    let mut got = Vec::new();
    while got != b"0\n1\n" {
        got.extend_from_slice(&reader.recv().await.unwrap().unwrap());
    }
    fs::OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
    append(&path, &line(3, "stdout"));
    assert_eq!(&reader.recv().await.unwrap().unwrap()[..], b"3\n");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// Any bytes in the file are survived, and a tail is a suffix of the whole.
    #[test]
    fn any_file(pieces in prop::collection::vec(prop_oneof![
        (0usize..50).prop_map(|n| line(n, "stdout")),
        "[a-z{}\":\n]{0,30}",
    ], 0..20), tail in 0usize..20) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x-json.log");
        append(&path, &pieces.concat());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (whole, part) = runtime.block_on(async {
            (all(&path, raw()).await, all(&path, Query { tail: Tail::Last(tail), ..raw() }).await)
        });
        prop_assert!(whole.ends_with(&part));
        prop_assert!(part.lines().count() <= tail);
    }
}
