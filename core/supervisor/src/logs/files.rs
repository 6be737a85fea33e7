//! A log and its rotated predecessors: `x-json.log`, `x-json.log.1` (newer), `x-json.log.2` (older), …

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

const BLOCK: u64 = 64 * 1024;

/// The path of the `n`th predecessor; the log itself is number 0.
pub fn numbered(path: &Path, n: usize) -> PathBuf {
    if n == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    PathBuf::from(name)
}

/// Opens a file; `None` where it does not exist.
pub fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where reading begins.
#[derive(Debug)]
pub struct Position {
    /// The file, if any exists.
    pub file: Option<File>,
    /// The byte.
    pub offset: u64,
}

/// The start of the oldest file.
pub fn oldest(path: &Path) -> io::Result<Position> {
    let mut best = open(path)?;
    for n in 1.. {
        match open(&numbered(path, n))? {
            Some(file) => best = Some(file),
            None => break,
        }
    }
    Ok(Position { file: best, offset: 0 })
}

/// The start of the last `count` lines of all files together.
pub fn last_lines(path: &Path, count: usize) -> io::Result<Position> {
    let mut position = Position { file: None, offset: 0 };
    let mut missing = count;
    for n in 0.. {
        let Some(file) = open(&numbered(path, n))? else {
            // A log that was rotated this moment has no number 0 yet.
            if n == 0 { continue } else { break }
        };
        let (offset, found) = search_back(&file, missing)?;
        missing -= found;
        position = Position { file: Some(file), offset };
        if missing == 0 {
            break;
        }
    }
    Ok(position)
}

/// The offset where the last `count` lines begin, and how many there are (at most `count`).
fn search_back(file: &File, count: usize) -> io::Result<(u64, usize)> {
    let size = file.metadata()?.len();
    if count == 0 {
        return Ok((size, 0));
    }
    let mut block = vec![0; usize::try_from(BLOCK).unwrap_or(65_536)];
    let (mut end, mut lines) = (size, 0);
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let piece = &mut block[..usize::try_from(end - start).unwrap_or(0)];
        file.read_exact_at(piece, start)?;
        for (i, byte) in piece.iter().enumerate().rev() {
            if *byte != b'\n' {
                continue;
            }
            if lines == count {
                return Ok((start + i as u64 + 1, lines));
            }
            lines += 1;
        }
        end = start;
    }
    Ok((0, lines))
}

/// The file that comes after `file`, if `file` was rotated away; `None` while it is the log that is written.
pub fn successor(path: &Path, file: &File) -> io::Result<Option<File>> {
    let own = identity(file)?;
    let Some(current) = open(path)? else { return Ok(None) };
    if identity(&current)? == own {
        return Ok(None);
    }
    let mut newer = current;
    for n in 1.. {
        match open(&numbered(path, n))? {
            Some(older) if identity(&older)? == own => return Ok(Some(newer)),
            Some(older) => newer = older,
            // It is deleted already: the oldest that is left comes next.
            None => return Ok(Some(newer)),
        }
    }
    Ok(None)
}

fn identity(file: &File) -> io::Result<(u64, u64)> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}
