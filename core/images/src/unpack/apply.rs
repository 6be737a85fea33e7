//! Entry by entry from the tar into the tree.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, makedev, mkdirat, mknodat};
use nix::sys::time::TimeSpec;
use nix::unistd::{linkat, symlinkat};
use tar::EntryType;

use super::archive::{Archive, Entry};
use super::attributes::{self, Header};
use super::limits::Space;
use super::sparse::Sparse;
use super::tree::{Place, Tree, is_whiteout, kind, normal};
use super::{Limits, Removals};
use crate::error::LayerError;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Bookkeeping of AUFS that some old layers carry.
const AUFS: &[u8] = b".wh..wh.";
const OPAQUE_XATTR: &str = "trusted.overlay.opaque";

/// The content of a file.
struct Content<'a, R> {
    data: &'a mut R,
    /// Bytes of data in the archive.
    size: u64,
    holes: Option<Sparse>,
}

/// Puts a layer's entries into a directory.
pub(super) struct Applier<'a> {
    tree: Tree,
    removals: Removals,
    limits: &'a Limits,
    space: Space,
    /// What this layer has put there, where that cannot be told from the parent's.
    created: HashSet<PathBuf>,
    /// Times of directories, which are set when nothing is put into them any more.
    times: Vec<(PathBuf, TimeSpec)>,
    size: u64,
    sparse: u64,
    buffer: Vec<u8>,
}

impl<'a> Applier<'a> {
    pub(super) fn new(target: &Path, removals: Removals, limits: &'a Limits) -> Result<Self, LayerError> {
        let tree = Tree::open(target)?;
        let space = Space::new(File::try_from(&tree)?, limits);
        Ok(Self {
            tree,
            removals,
            limits,
            space,
            created: HashSet::new(),
            times: Vec::new(),
            size: 0,
            sparse: 0,
            buffer: vec![0; 128 << 10],
        })
    }

    /// Applies all entries.
    pub(super) fn run(&mut self, stream: &mut impl Read) -> Result<(), LayerError> {
        let mut archive = Archive::new(stream, self.limits.headers);
        let mut count = 0;
        while let Some(entry) = archive.next()? {
            count += 1;
            if count > self.limits.entries {
                return Err(LayerError::TooManyEntries(self.limits.entries));
            }
            self.entry(entry, &mut archive.data())?;
        }
        Ok(())
    }

    /// Sets what could not be set before; the size of all files and the directories that were only implied.
    pub(super) fn finish(mut self) -> Result<(u64, Vec<PathBuf>), LayerError> {
        let times = std::mem::take(&mut self.times);
        let named: HashSet<&Path> = times.iter().map(|(path, _)| path.as_path()).collect();
        let implicit = self.tree.implicit().iter().filter(|p| !named.contains(p.as_path())).cloned().collect();
        for (path, time) in times.into_iter().rev() {
            let place = match path.file_name() {
                Some(_) => self.tree.place(&path, false),
                None => self.root_place(),
            };
            // A later entry may have put something else there.
            let Ok(place) = place else { continue };
            if matches!(place.stat(), Ok(Some(stat)) if kind(&stat) == SFlag::S_IFDIR) {
                attributes::set_time(&place, &path, &time)?;
            }
        }
        Ok((self.size, implicit))
    }

    fn root_place(&mut self) -> Result<Place, LayerError> {
        Ok(Place { parent: self.tree.directory(Path::new(""), false)?, name: ".".into() })
    }

    fn entry(&mut self, entry: Entry, data: &mut impl Read) -> Result<(), LayerError> {
        let size = entry.size;
        let mut header = Header::read(entry)?;
        let path = std::mem::take(&mut header.path);
        let Some(name) = path.file_name().map(OsStr::as_bytes) else { return self.root(&header) };
        if name == OPAQUE {
            return self.opaque(path.parent().unwrap_or(Path::new("")));
        }
        if name.starts_with(AUFS)
            || path.components().next().is_some_and(|c| c.as_os_str().as_bytes().starts_with(AUFS))
        {
            return Ok(());
        }
        if let Some(removed) = name.strip_prefix(WHITEOUT) {
            if matches!(removed, b"" | b"." | b"..") {
                return Err(LayerError::Entry(path, "it removes no name"));
            }
            return self.whiteout(&path.with_file_name(OsStr::from_bytes(removed)));
        }
        let place = self.tree.place(&path, true)?;
        let existing = place.stat().map_err(|e| LayerError::write(&path, e))?;
        let was_removed = existing.as_ref().is_some_and(is_whiteout);
        let stays = existing.as_ref().is_some_and(|s| kind(s) == SFlag::S_IFDIR) && header.kind == EntryType::Directory;
        if existing.is_some() && !stays {
            self.tree.remove(&place, &path)?;
        }
        if !stays {
            let holes = header.sparse.take();
            self.create(&header, &place, &path, Content { data, size, holes })?;
        }
        if header.kind != EntryType::Link {
            header.apply(&place, &path)?;
        }
        if header.kind == EntryType::Directory {
            if was_removed && self.removals == Removals::Overlay {
                // The parent's directory of this name is gone: nothing of it may show through the new one.
                set_opaque(&place, &path)?;
            }
            self.times.push((path.clone(), header.mtime));
        }
        self.note(path);
        Ok(())
    }

    fn note(&mut self, path: PathBuf) {
        if self.removals == Removals::Applied {
            self.created.insert(path);
        }
    }

    fn root(&mut self, header: &Header) -> Result<(), LayerError> {
        if header.kind != EntryType::Directory {
            return Err(LayerError::Entry("/".into(), "the root is no directory"));
        }
        let place = self.root_place()?;
        header.apply(&place, Path::new("/"))?;
        self.times.push((PathBuf::new(), header.mtime));
        Ok(())
    }

    fn create(
        &mut self,
        header: &Header,
        place: &Place,
        path: &Path,
        content: Content<'_, impl Read>,
    ) -> Result<(), LayerError> {
        let (dir, name) = (place.dir(), place.name.as_os_str());
        let failed = |e: Errno| LayerError::write(path, e);
        let private = Mode::from_bits_truncate(0o600);
        match header.kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let file = File::from(openat(dir, name, flags, private).map_err(failed)?);
                self.content(content, file, path)
            }
            EntryType::Directory => mkdirat(dir, name, Mode::from_bits_truncate(0o700)).map_err(failed),
            EntryType::Symlink => symlinkat(header.link.as_os_str(), dir, name).map_err(failed),
            EntryType::Link => self.hard_link(header, place, path),
            EntryType::Fifo => mknodat(dir, name, SFlag::S_IFIFO, private, 0).map_err(failed),
            EntryType::Char | EntryType::Block => {
                let kind = if header.kind == EntryType::Char { SFlag::S_IFCHR } else { SFlag::S_IFBLK };
                mknodat(dir, name, kind, private, makedev(header.device.0.into(), header.device.1.into()))
                    .map_err(failed)
            }
            _ => Err(LayerError::Entry(path.to_owned(), "its type is unknown")),
        }
    }

    fn hard_link(&mut self, header: &Header, place: &Place, path: &Path) -> Result<(), LayerError> {
        let source = normal(&header.link)?;
        let missing = |e: LayerError| match (self.removals, e) {
            // The file is one of the parent's.
            (Removals::Overlay, LayerError::Write { source, .. })
                if matches!(source.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) =>
            {
                LayerError::NeedsParent(path.to_owned())
            }
            (_, e) => e,
        };
        let from = self.tree.place(&source, false).map_err(missing)?;
        let linked = linkat(from.dir(), from.name.as_os_str(), place.dir(), place.name.as_os_str(), AtFlags::empty());
        linked.map_err(|e| missing(LayerError::write(path, e)))
    }

    fn content(&mut self, content: Content<'_, impl Read>, mut file: File, path: &Path) -> Result<(), LayerError> {
        let failed = |source| LayerError::Write { path: path.to_owned(), source };
        let Content { data, size, holes } = content;
        let Some(sparse) = holes else { return self.copy(data, &mut file, size, path) };
        let whole = sparse.size;
        self.sparse_size(whole)?;
        for (offset, length) in sparse.pieces(data).map_err(LayerError::Archive)? {
            file.seek(SeekFrom::Start(offset)).map_err(failed)?;
            self.copy(data, &mut file, length, path)?;
        }
        file.set_len(whole).map_err(failed)
    }

    fn sparse_size(&mut self, size: u64) -> Result<(), LayerError> {
        self.sparse = self.sparse.saturating_add(size);
        if self.sparse > self.limits.sparse {
            return Err(LayerError::TooSparse(self.limits.sparse));
        }
        Ok(())
    }

    fn copy(&mut self, from: &mut impl Read, file: &mut File, mut length: u64, path: &Path) -> Result<(), LayerError> {
        let failed = |source| LayerError::Write { path: path.to_owned(), source };
        while length > 0 {
            let most = usize::try_from(length).unwrap_or(usize::MAX).min(self.buffer.len());
            let n = from.read(&mut self.buffer[..most]).map_err(LayerError::Read)?;
            if n == 0 {
                return Err(LayerError::Read(io::ErrorKind::UnexpectedEof.into()));
            }
            length -= n as u64;
            self.space.take(n as u64)?;
            file.write_all(&self.buffer[..n]).map_err(failed)?;
            self.size += n as u64;
        }
        Ok(())
    }

    fn whiteout(&mut self, path: &Path) -> Result<(), LayerError> {
        match self.removals {
            Removals::Applied => {
                let Ok(place) = self.tree.place(path, false) else { return Ok(()) };
                let created = std::mem::take(&mut self.created);
                let removed = self.tree.remove_except(&place, path, &|p| created.contains(p));
                self.created = created;
                removed
            }
            Removals::Overlay => {
                let place = self.tree.place(path, true)?;
                match place.stat().map_err(|e| LayerError::write(path, e))? {
                    None => mknodat(place.dir(), place.name.as_os_str(), SFlag::S_IFCHR, Mode::empty(), 0)
                        .map_err(|e| LayerError::write(path, e)),
                    // All that is here is this layer's own, which its whiteouts do not mean.
                    Some(stat) if kind(&stat) == SFlag::S_IFDIR => set_opaque(&place, path),
                    Some(_) => Ok(()),
                }
            }
        }
    }

    fn opaque(&mut self, path: &Path) -> Result<(), LayerError> {
        match self.removals {
            // overlayfs does not look at the mark on a layer's root.
            Removals::Overlay if path.as_os_str().is_empty() => Err(LayerError::NeedsParent(path.to_owned())),
            Removals::Overlay => {
                self.tree.directory(path, true)?;
                let place = self.tree.place(path, true)?;
                set_opaque(&place, path)
            }
            Removals::Applied => {
                if self.tree.directory(path, false).is_err() {
                    return Ok(());
                }
                let created = std::mem::take(&mut self.created);
                let emptied = self.tree.empty_except(path, &|p| created.contains(p));
                self.created = created;
                emptied
            }
        }
    }
}

fn set_opaque(place: &Place, path: &Path) -> Result<(), LayerError> {
    let stat = place.stat().map_err(|e| LayerError::write(path, e))?;
    if stat.is_none_or(|s| kind(&s) != SFlag::S_IFDIR) {
        return Err(LayerError::NeedsParent(path.to_owned()));
    }
    xattr::set(place.proc_path(), OPAQUE_XATTR, b"y")
        .map_err(|source| LayerError::Write { path: path.to_owned(), source })
}
