//! A file that a user names is written as a whole or not at all, and nothing else of the user's is harmed.
//!
//! | at the path | what is done |
//! |---|---|
//! | nothing, or a file of the same kind | the content is written beside it, brought to the disk (fsync), and renamed; mode and owner stay |
//! | a file of another kind | refused: it may be a corpus |
//! | a link | the file it leads to is written; the link stays |
//! | a device, a pipe (FIFO, `>(cat)`), `/dev/stdout` | the content is written into it |
//! | a file that the system does not let be replaced (a mount point, or in a folder that is read-only) | the content is written into it |

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::Error;
use crate::model::input;

/// What a file holds, so that a file of another kind is not replaced.
#[derive(Clone, Copy, Debug)]
pub struct FileKind {
    /// As messages name it, for example `an HTML page`.
    pub name: &'static str,
    /// Whether a file with this beginning (at most 512 bytes, at least 1) is one.
    pub begins: fn(&[u8]) -> bool,
}

impl FileKind {
    /// An HTML page.
    pub const HTML: FileKind = FileKind {
        name: "an HTML page",
        begins: |start| {
            let start = String::from_utf8_lossy(start).trim_start().to_ascii_lowercase();
            start.starts_with("<!doctype html") || start.starts_with("<html")
        },
    };
}

/// How many links are followed, as on Linux.
const MAX_LINKS: usize = 40;

/// How a path is written.
#[derive(Debug, PartialEq)]
enum Place {
    StandardOutput,
    /// A device or a pipe; or a file behind a descriptor, to which others write too.
    Stream(PathBuf),
    /// A file, or nothing yet.
    File(PathBuf),
    /// A file beside which nothing can be written.
    Fixed(PathBuf),
}

/// Checks, without leaving anything behind, that [`write_output`] could write to this path now: for callers that
/// must not find out only after hours of work.
///
/// # Errors
/// [`Error::Input`] if a folder or a file of another kind is there; [`Error::Io`] if the system refuses.
pub fn check_output(path: impl AsRef<Path>, kind: FileKind) -> Result<(), Error> {
    place(path.as_ref(), kind).map(drop)
}

/// Writes a file as a whole or not at all. A link is followed; what is no regular file (a device, a pipe) is
/// written into; a file that is there keeps its mode.
///
/// # Errors
/// Those of [`check_output`]; what was there is then as before, unless the message says that the new content is in
/// place. What cannot be replaced (a device, a mount point) may hold a part of the content after an [`Error::Io`].
pub fn write_output(path: impl AsRef<Path>, kind: FileKind, content: &[u8]) -> Result<(), Error> {
    let path = path.as_ref();
    let io = |source| Error::Io { path: path.to_owned(), action: "write", source };
    write_output_with(path, kind, |out| out.write_all(content).map_err(io))
}

/// The same for content that is made while it is written. An error of `content` leaves what was there as it was.
///
/// # Errors
/// Those of [`write_output`] and of `content`.
pub fn write_output_with(
    path: impl AsRef<Path>,
    kind: FileKind,
    content: impl FnOnce(&mut (dyn Write + Send)) -> Result<(), Error>,
) -> Result<(), Error> {
    let path = path.as_ref();
    let io = |source| Error::Io { path: path.to_owned(), action: "write", source };
    match place(path, kind)? {
        Place::StandardOutput => {
            let mut out = io::stdout();
            content(&mut out)?;
            out.flush().map_err(io)
        }
        Place::Stream(stream) => {
            // Appending changes nothing for a device or a pipe, and keeps what others wrote to a file.
            let mut stream = OpenOptions::new().append(true).open(stream).map_err(io)?;
            content(&mut stream)
        }
        Place::Fixed(file) => {
            let mut draft = tempfile::tempfile().map_err(io)?;
            content(&mut draft)?;
            write_in_place(&file, &mut draft).map_err(io)
        }
        Place::File(file) => {
            let folder = folder_of(&file);
            let there = fs::metadata(&file).ok();
            let mut draft = Draft::create(folder, there.is_some()).map_err(io)?;
            content(draft.file())?;
            draft.finish(there.as_ref()).map_err(io)?;
            let mut written = draft.file().try_clone().map_err(io)?;
            match draft.persist(&file) {
                // A mount point, a folder of others with the sticky bit: the file can be written, not replaced.
                Err(error) if there.is_some() && cannot_be_replaced(&error) => {
                    write_in_place(&file, &mut written).map_err(|_| io(error))
                }
                Err(error) => Err(io(error)),
                Ok(()) => sync_folder(folder).map_err(|error| io(in_place(error))),
            }
        }
    }
}

fn place(path: &Path, kind: FileKind) -> Result<Place, Error> {
    let io = |action| move |source| Error::Io { path: path.to_owned(), action, source };
    if ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].iter().any(|name| path == Path::new(name)) {
        return Ok(Place::StandardOutput);
    }
    let there = match fs::metadata(path) {
        Ok(there) => Some(there),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(io("open")(source)),
    };
    if there.as_ref().is_some_and(fs::Metadata::is_dir) {
        return Err(input(path, None, "a folder", format!("{}, or nothing", kind.name)));
    }
    if there.is_some() {
        may_write(path).map_err(io("write"))?;
    }
    if there.as_ref().is_some_and(|there| !there.is_file()) {
        return Ok(Place::Stream(path.to_owned()));
    }
    let Some(file) = follow(path).map_err(io("open"))? else { return Ok(Place::Stream(path.to_owned())) };
    if there.is_some() {
        let mut start = Vec::new();
        File::open(&file).and_then(|file| file.take(512).read_to_end(&mut start)).map_err(io("read"))?;
        if !start.is_empty() && !(kind.begins)(&start) {
            let expected =
                format!("{}, an empty file, or nothing; name another file, or remove this one", kind.name);
            return Err(input(path, None, "a file of another kind", expected));
        }
    }
    let folder = folder_of(&file);
    if !folder.exists() {
        let text = format!("there is no folder {}", folder.display());
        return Err(io("write")(io::Error::new(io::ErrorKind::NotFound, text)));
    }
    match Draft::write(folder, b"", None) {
        Ok(_) => Ok(Place::File(file)),
        // Its folder is read-only, the file itself is not.
        Err(_) if OpenOptions::new().append(true).open(&file).is_ok() => Ok(Place::Fixed(file)),
        Err(source) => Err(io("write")(source)),
    }
}

/// Whether the system would let this program write to what is there.
fn may_write(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK)?;
    #[cfg(not(unix))]
    if fs::metadata(path)?.permissions().readonly() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(())
}

/// The path behind links, which need not exist; `None` if one of them stands for an open file (`/dev/fd/5`).
pub(crate) fn follow(path: &Path) -> io::Result<Option<PathBuf>> {
    let mut place = path.to_owned();
    for _ in 0..MAX_LINKS {
        let folder = folder_of(&place).canonicalize();
        if folder.is_ok_and(|folder| folder.starts_with("/proc") || folder.starts_with("/dev/fd")) {
            return Ok(None);
        }
        match fs::symlink_metadata(&place) {
            Ok(there) if there.is_symlink() => place = folder_of(&place).join(fs::read_link(&place)?),
            Ok(_) => return Ok(Some(place)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(place)),
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("too many links"))
}

fn cannot_be_replaced(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, ResourceBusy};
    matches!(error.kind(), CrossesDevices | PermissionDenied | ResourceBusy)
}

fn write_in_place(file: &Path, content: &mut File) -> io::Result<()> {
    content.rewind()?;
    let mut file = OpenOptions::new().write(true).truncate(true).open(file)?;
    io::copy(content, &mut file)?;
    file.sync_all()
}

/// An error after which the new content is in place all the same.
pub(crate) fn in_place(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{error}; the new content is in place"))
}

pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Brings the folder's list of names to the disk.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    // Only Unix opens folders as files.
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// A file that is written and on the disk, and has no name yet: whatever ends the program, the system removes it.
/// Where the system has no files without a name, it has one by chance, and is removed when dropped.
pub(crate) enum Draft {
    #[cfg(target_os = "linux")]
    Unnamed(File),
    Named(NamedTempFile),
}

impl Draft {
    /// Writes `content` on the file system of `folder`; `like` is the file whose mode and owner it takes over.
    pub(crate) fn write(folder: &Path, content: &[u8], like: Option<&fs::Metadata>) -> io::Result<Self> {
        let mut draft = Draft::create(folder, like.is_some())?;
        draft.file().write_all(content)?;
        draft.finish(like)?;
        Ok(draft)
    }

    /// Brings what was written to the disk, with the mode and owner of `like`.
    fn finish(&mut self, like: Option<&fs::Metadata>) -> io::Result<()> {
        let file = self.file();
        if let Some(like) = like {
            take_over(file, like)?;
        }
        file.sync_all()
    }

    fn create(folder: &Path, private: bool) -> io::Result<Self> {
        let mode = if private { 0o600 } else { 0o666 };
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{Mode, OFlags};
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            if Path::new("/proc/self/fd").exists()
                && let Ok(file) = rustix::fs::open(folder, flags, Mode::from_raw_mode(mode))
            {
                return Ok(Draft::Unnamed(file.into()));
            }
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix(".elman-new-");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // As any new file: the system's mask takes away what it takes.
            builder.permissions(fs::Permissions::from_mode(mode));
        }
        #[cfg(not(unix))]
        let _ = mode;
        builder.tempfile_in(folder).map(Draft::Named)
    }

    fn file(&mut self) -> &mut File {
        match self {
            #[cfg(target_os = "linux")]
            Draft::Unnamed(file) => file,
            Draft::Named(file) => file.as_file_mut(),
        }
    }

    /// Gives it this name, on the same file system, in place of what has the name.
    pub(crate) fn persist(self, path: &Path) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Draft::Unnamed(file) => {
                use std::os::fd::AsRawFd;
                let name = format!("/proc/self/fd/{}", file.as_raw_fd());
                put(path, |to| {
                    use rustix::fs::{AtFlags, CWD, linkat};
                    Ok(linkat(CWD, &name, CWD, to, AtFlags::SYMLINK_FOLLOW)?)
                })
            }
            Draft::Named(file) => file.persist(path).map(drop).map_err(|error| error.error),
        }
    }
}

/// Puts a file in the place of `path`, where `create` makes it under a name that must be free.
pub(crate) fn put(path: &Path, create: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    match create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        created => return created,
    }
    let beside =
        tempfile::Builder::new().prefix(".elman-new-").make_in(folder_of(path), |beside| create(beside))?;
    // A rename between two names of one file does nothing; `beside` is removed in any case when it is dropped.
    fs::rename(beside.path(), path)
}

/// Gives a file the owner, as far as the system lets it, and the mode of another.
pub(crate) fn take_over(file: &File, like: &fs::Metadata) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
            // Only root may give files away, and it is no fault of a user not to be root.
            let _ = fchown(file, Some(like.uid()), Some(like.gid()));
        }
    }
    file.set_permissions(like.permissions())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: FileKind = FileKind {
        name: "a text of capitals",
        begins: |start| start.is_ascii() && start[0].is_ascii_uppercase(),
    };

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_created_and_replaced_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        check_output(&path, TEXT).unwrap();
        assert!(names(folder.path()).is_empty(), "a check leaves nothing behind");
        for content in ["One", "Two", ""] {
            write_output(&path, TEXT, content.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert_eq!(names(folder.path()), ["file"]);
        }
        // An empty file is of any kind: `mktemp` makes one.
        write_output(&path, TEXT, b"Three").unwrap();
        let missing = folder.path().join("none/file");
        for result in [check_output(&missing, TEXT), write_output(&missing, TEXT, b"")] {
            assert!(matches!(result.unwrap_err(), Error::Io { path, .. } if path == missing));
        }
    }

    #[test]
    fn a_file_of_another_kind_and_a_folder_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("corpus");
        fs::write(&path, "to O\n").unwrap();
        for result in [check_output(&path, TEXT), write_output(&path, TEXT, b"New")] {
            let message = result.unwrap_err().to_string();
            assert!(
                message.contains("corpus: a file of another kind, expected a text of capitals"),
                "{message}"
            );
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "to O\n");
        let message = check_output(folder.path(), TEXT).unwrap_err().to_string();
        assert!(message.contains("a folder, expected a text of capitals, or nothing"), "{message}");
        assert!((FileKind::HTML.begins)(b"\n<!DOCTYPE html>") && !(FileKind::HTML.begins)(b"to O"));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_and_the_file_behind_it_is_written() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("inner")).unwrap();
        fs::write(path("inner/file"), "Old").unwrap();
        symlink("inner/file", path("second")).unwrap();
        symlink("second", path("first")).unwrap();
        // A link to nothing yet: the file is made where it leads.
        symlink("inner/new", path("dangling")).unwrap();
        for (link, file) in [("first", "inner/file"), ("dangling", "inner/new")] {
            check_output(path(link), TEXT).unwrap();
            write_output(path(link), TEXT, b"New").unwrap();
            assert!(fs::symlink_metadata(path(link)).unwrap().is_symlink());
            assert!(fs::symlink_metadata(path(file)).unwrap().is_file());
            assert_eq!(fs::read_to_string(path(file)).unwrap(), "New");
        }
        symlink("circle", path("circle")).unwrap();
        assert!(matches!(check_output(path("circle"), TEXT), Err(Error::Io { .. })));
        assert_eq!(names(&path("inner")), ["file", "new"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_device_and_a_pipe_are_written_into_and_stay() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        check_output(&pipe, TEXT).unwrap(); // does not wait for a reader
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read_to_string(pipe).unwrap()
        });
        write_output(&pipe, TEXT, b"text").unwrap();
        assert_eq!(reader.join().unwrap(), "text");
        assert!(!fs::metadata(&pipe).unwrap().is_file());

        write_output("/dev/null", TEXT, b"text").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        let message = write_output("/dev/full", TEXT, b"text").unwrap_err().to_string();
        assert!(message.starts_with("/dev/full: cannot write: No space left"), "{message}");
        assert_eq!(names(folder.path()), ["pipe"]);

        // As `>(cat)` is given: the path of a descriptor. A file behind one keeps what is there already.
        use std::os::fd::AsRawFd;
        let mut file = OpenOptions::new().create(true).append(true).open(folder.path().join("log")).unwrap();
        file.write_all(b"before ").unwrap();
        write_output(format!("/dev/fd/{}", file.as_raw_fd()), TEXT, b"page").unwrap();
        file.write_all(b" after").unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("log")).unwrap(), "before page after");
        for name in ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
            assert_eq!(place(Path::new(name), TEXT).unwrap(), Place::StandardOutput);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_private_file_stays_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "Old").unwrap();
        for mode in [0o600, 0o640, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            write_output(&path, TEXT, b"New").unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
        }
        // A new file has the mode of any new file.
        write_output(folder.path().join("new"), TEXT, b"New").unwrap();
        fs::write(folder.path().join("any"), "").unwrap();
        let mode = |name| fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode("new"), mode("any"));
    }

    #[test]
    fn a_file_that_cannot_be_replaced_is_written_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "A longer text").unwrap();
        let mut content = tempfile::tempfile().unwrap();
        content.write_all(b"Text").unwrap();
        write_in_place(&path, &mut content).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "Text");
        for kind in
            [io::ErrorKind::ResourceBusy, io::ErrorKind::PermissionDenied, io::ErrorKind::CrossesDevices]
        {
            assert!(cannot_be_replaced(&kind.into()));
        }
        assert!(!cannot_be_replaced(&io::ErrorKind::StorageFull.into()));
    }

    #[test]
    fn a_draft_with_a_name_and_one_without_become_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for _ in 0..2 {
            let mut named = tempfile::Builder::new().tempfile_in(folder.path()).unwrap();
            named.write_all(b"named").unwrap();
            Draft::Named(named).persist(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "named");
            Draft::write(folder.path(), b"draft", None).unwrap().persist(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "draft");
        }
        drop(Draft::write(folder.path(), b"never", None).unwrap());
        assert_eq!(names(folder.path()), ["file"]);
    }
}
