//! A folder of files that is replaced as a whole or not at all, by one process at a time.
//!
//! The folder itself stays: it may be a mount point, keeps its mode and owner, and nothing beside it is touched.
//! Everything that is made in it has a name that begins with `.elman-`:
//!
//! | name | what it is |
//! |---|---|
//! | `.elman-lock` | locked while a process writes here (a [`Claim`]), which it names; removed at the end |
//! | `.elman-new-*` | a content that is not whole; the next claim removes it |
//! | `.elman-next` | a whole content, brought to the disk (fsync) before it got this name: from now on it is what the folder holds |
//!
//! A replacement writes `.elman-new-*` and renames it to `.elman-next`, in one step. Then it puts each file of it in
//! the place of the old one and removes `.elman-next`. A crash before that step leaves the old content, a crash after
//! it the new one, where [`read`] finds it; the next claim puts it in its place.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::Error;

use crate::model::input;
use crate::output::{Draft, follow, in_place, put, sync_folder};

const LOCK: &str = ".elman-lock";
const NEXT: &str = ".elman-next";
const NEW: &str = ".elman-new-";
/// Within a `.elman-new-*`: a content that has been put in its place.
const OLD: &str = "old";
/// What the file system itself keeps at the root of a disk.
const LOST_AND_FOUND: &str = "lost+found";

/// For how long a replacement waits for another process to end its own.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a folder is read that is replaced meanwhile.
const READS: usize = 20;

/// A step of a replacement; tests let it fail or end the program there.
type Hook<'a> = &'a mut dyn FnMut() -> io::Result<()>;

/// Writes `files` (names and contents) as the folder `target`, as a whole or not at all, as
/// [`Model::save`](crate::Model::save) does; a folder that is there must hold nothing but files of these names.
///
/// # Errors
/// [`Error::Input`] if something else is at `target`; [`Error::Io`] if the system refuses, or another process keeps
/// writing there. The old content is then as before, unless the message says that the new content is in place.
pub fn replace(target: &Path, files: &[(&str, Vec<u8>)]) -> Result<(), Error> {
    let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
    save(target, "model", &names, files)
}

/// [`replace`] for another kind of folder than a model's.
pub(crate) fn save(
    target: &Path,
    what: &str,
    names: &[&str],
    files: &[(&str, Vec<u8>)],
) -> Result<(), Error> {
    Claim::wait(target, what, names, PATIENCE)?.replace(files)
}

/// Checks, without leaving anything behind, that [`replace`] could write `target` now: for callers that must not
/// find out only after hours of work, and do not keep a [`Claim`].
///
/// # Errors
/// Those of [`replace`].
pub(crate) fn check(target: &Path, what: &str, names: &[&str]) -> Result<(), Error> {
    Claim::wait(target, what, names, Duration::ZERO).map(drop)
}

/// The right to write a folder, which one process at a time has; given back when dropped.
#[derive(Debug)]
pub struct Claim {
    /// As the user named it.
    path: PathBuf,
    /// The same behind links.
    folder: PathBuf,
    names: Vec<String>,
    /// Held for its lock.
    _lock: File,
    created: bool,
}

impl Drop for Claim {
    fn drop(&mut self) {
        // While it is still locked; whoever waits for it looks whether it is still there.
        let _ = fs::remove_file(self.folder.join(LOCK));
        if self.created {
            // Only if nothing was written: the system removes no folder that holds something.
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

impl Claim {
    /// Takes the folder `target`, which may hold files of these names (of a name that ends with `/`, a folder) and
    /// nothing else. A folder that is not there is made; the enclosing one must be there. Messages call it `what`,
    /// for example `model`.
    ///
    /// # Errors
    /// As [`replace`]; who has it, if another process has.
    pub fn new(target: impl AsRef<Path>, what: &str, names: &[&str]) -> Result<Self, Error> {
        Claim::wait(target.as_ref(), what, names, Duration::ZERO)
    }

    /// The folder, as it was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the content of the folder, as [`replace`] does.
    ///
    /// # Errors
    /// Those of [`replace`].
    pub fn replace(&self, files: &[(&str, Vec<u8>)]) -> Result<(), Error> {
        self.replace_with(files, &mut || Ok(()))
    }

    fn wait(target: &Path, what: &str, names: &[&str], patience: Duration) -> Result<Self, Error> {
        let io = |action| move |source| Error::Io { path: target.to_owned(), action, source };
        // A link is followed once, here, so that the folder behind it is written and the link stays.
        let folder = follow(target).map_err(io("open"))?.unwrap_or_else(|| target.to_owned());
        if folder.file_name().is_none() && !folder.is_dir() {
            return Err(input(target, None, "no folder can have this name", "the path of a folder"));
        }
        let start = Instant::now();
        loop {
            let created = match fs::metadata(&folder) {
                Ok(there) if there.is_dir() => false,
                Ok(_) => return Err(input(target, None, "a file", format!("a {what} folder, or nothing"))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::create_dir(&folder) {
                    Ok(()) => true,
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                    Err(source) => return Err(io("create")(source)),
                },
                Err(source) => return Err(io("open")(source)),
            };
            let undo = |error| {
                if created {
                    let _ = fs::remove_dir(&folder);
                }
                error
            };
            only_ours(target, &folder, what, names).map_err(undo)?;
            match lock(&folder) {
                Ok(Lock::Ours(lock)) => {
                    let names = names.iter().map(|name| (*name).to_owned()).collect();
                    let claim = Claim { path: target.to_owned(), folder, names, _lock: lock, created };
                    claim.tidy().map_err(|source| io("tidy")(source))?;
                    return Ok(claim);
                }
                // Removed by whoever had it, perhaps together with the folder.
                Ok(Lock::Gone) => {}
                Ok(Lock::Others(holder)) if start.elapsed() >= patience => {
                    let holder = holder.map_or("another process".to_owned(), |id| format!("process {id}"));
                    let problem = format!(
                        "{holder} is writing to this folder; wait for its end, or name another folder"
                    );
                    return Err(io("lock")(io::Error::new(io::ErrorKind::WouldBlock, problem)));
                }
                Ok(Lock::Others(_)) => thread::sleep(Duration::from_millis(5)),
                Err(source) => return Err(undo(io("write")(source))),
            }
        }
    }

    /// Ends what a crash has interrupted. Nobody else is writing here.
    fn tidy(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(NEW) {
                remove(&entry.path())?;
            }
        }
        if is_folder(&self.folder.join(NEXT)) { self.put_in_place(&mut || Ok(())) } else { Ok(()) }
    }

    fn replace_with(&self, files: &[(&str, Vec<u8>)], hook: Hook<'_>) -> Result<(), Error> {
        let io = |source| Error::Io { path: self.path.clone(), action: "write", source };
        self.write_next(files, hook).map_err(io)?;
        // From here on the folder holds the new content, whatever happens.
        sync_folder(&self.folder).and_then(|()| self.put_in_place(hook)).map_err(|error| io(in_place(error)))
    }

    fn write_next(&self, files: &[(&str, Vec<u8>)], hook: Hook<'_>) -> io::Result<()> {
        let mut drafts = Vec::new();
        for (name, content) in files {
            hook()?;
            // A private model stays private.
            let there = fs::symlink_metadata(self.folder.join(name)).ok().filter(fs::Metadata::is_file);
            drafts.push((name, Draft::write(&self.folder, content, there.as_ref())?));
        }
        let new = tempfile::Builder::new().prefix(NEW).tempdir_in(&self.folder)?;
        for (name, draft) in drafts {
            hook()?;
            draft.persist(&new.path().join(name))?;
        }
        // Whoever may read the folder may read what it holds.
        #[cfg(unix)]
        crate::output::take_over(&File::open(new.path())?, &fs::metadata(&self.folder)?)?;
        sync_folder(new.path())?;
        hook()?;
        fs::rename(new.path(), self.folder.join(NEXT))
    }

    /// Puts the files of `.elman-next` in the place of the old ones and removes it.
    fn put_in_place(&self, hook: Hook<'_>) -> io::Result<()> {
        let next = self.folder.join(NEXT);
        for name in &self.names {
            let (from, to) = (next.join(name), self.folder.join(name));
            if !from.exists() {
                continue;
            }
            hook()?;
            put(&to, |to| match fs::hard_link(&from, to) {
                // There may be no links here, as on FAT. The copy is whole on the disk before it gets its name.
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    let there = fs::metadata(&from)?;
                    if to.try_exists()? {
                        return Err(io::ErrorKind::AlreadyExists.into());
                    }
                    Draft::write(&self.folder, &fs::read(&from)?, Some(&there))?.persist(to)
                }
                linked => linked,
            })?;
        }
        sync_folder(&self.folder)?;
        hook()?;
        // In one step it is no longer the content; then it can be removed file by file.
        let old = tempfile::Builder::new().prefix(NEW).tempdir_in(&self.folder)?;
        fs::rename(&next, old.path().join(OLD))?;
        hook()?;
        old.close()
    }
}

/// Refuses a folder with anything but the named files and what a replacement makes.
fn only_ours(target: &Path, folder: &Path, what: &str, names: &[&str]) -> Result<(), Error> {
    let io = |source| Error::Io { path: target.to_owned(), action: "read", source };
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name();
        let is_named = |name: &std::ffi::OsStr| names.iter().any(|known| name == *known);
        // Of a folder that another claim is writing, something may be gone by now.
        let (is_file, is_dir) =
            entry.file_type().map_or((false, false), |kind| (kind.is_file(), kind.is_dir()));
        let ours = if name == LOCK {
            is_file
        } else if name == NEXT || (is_dir && name.to_string_lossy().starts_with(NEW)) {
            let mut inner = fs::read_dir(entry.path()).into_iter().flatten().flatten();
            is_dir && inner.all(|inner| is_named(&inner.file_name()) || inner.file_name() == OLD)
        } else {
            let is_folder_of_ours =
                || names.iter().any(|known| known.strip_suffix('/').is_some_and(|known| name == *known));
            is_file && (is_named(&name) || name.to_string_lossy().starts_with(NEW))
                || is_dir && is_folder_of_ours()
        };
        if !ours && name != LOST_AND_FOUND && entry.path().symlink_metadata().is_ok() {
            let problem = format!("the folder holds {name:?}, which no {what} has");
            return Err(input(
                target,
                None,
                problem,
                format!("a {what} folder, an empty folder, or nothing"),
            ));
        }
    }
    Ok(())
}

enum Lock {
    Ours(File),
    /// Another process has it; its number, where it can be read.
    Others(Option<u32>),
    Gone,
}

/// Locks a folder, if no other process has.
fn lock(folder: &Path) -> io::Result<Lock> {
    let path = folder.join(LOCK);
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags((rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits() as i32);
    }
    let mut file = match options.open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !folder.exists() => return Ok(Lock::Gone),
        opened => opened?,
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let _ = (&mut file).take(20).read_to_string(&mut text);
            return Ok(Lock::Others(text.trim().parse().ok()));
        }
        // A file system without locks: then nothing is said of two who write at the same time.
        Err(TryLockError::Error(_)) => {}
    }
    if fs::metadata(&path).ok().and_then(|there| identity(&there))
        != file.metadata().ok().and_then(|own| identity(&own))
    {
        return Ok(Lock::Gone);
    }
    // Who has it is told to whoever asks; nothing depends on it.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(Lock::Ours(file))
}

fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|there| there.is_dir())
}

fn remove(path: &Path) -> io::Result<()> {
    if is_folder(path) { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

/// Where the content of the folder `target` is: there or, while a replacement ends, in a folder within.
fn locate(target: &Path) -> PathBuf {
    let next = target.join(NEXT);
    if is_folder(&next) { next } else { target.to_owned() }
}

/// Whether something is at `target`. A folder that holds no more than what a killed process left is nothing.
pub(crate) fn exists(target: &Path) -> bool {
    let Ok(entries) = fs::read_dir(target) else { return fs::symlink_metadata(target).is_ok() };
    is_folder(&target.join(NEXT))
        || entries.flatten().any(|entry| {
            let name = entry.file_name();
            name != LOST_AND_FOUND && name != LOCK && !name.to_string_lossy().starts_with(NEW)
        })
}

/// Reads the folder `target`, of which every replacement replaces the file `key`. The content is that of one replacement:
/// if another one took place meanwhile, it is read again.
pub(crate) fn read<T>(
    target: &Path,
    key: &str,
    read: impl Fn(&Path) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut refused = None;
    for _ in 0..READS {
        let folder = locate(target);
        let path = folder.join(key);
        let is_file = || fs::symlink_metadata(&path).is_ok_and(|there| there.is_file());
        // Held open, so that no new file can get its number meanwhile.
        let held = is_file().then(|| File::open(&path));
        let content = read(&folder);
        let number = |there: io::Result<fs::Metadata>| there.ok().and_then(|there| identity(&there));
        let replaced = locate(target) != folder
            || match held {
                Some(Ok(held)) => number(held.metadata()) != number(fs::symlink_metadata(&path)),
                Some(Err(_)) => false,
                None => is_file(),
            };
        match content {
            // Where files have no numbers, a mixture shows as an error.
            Err(error) if !replaced && !cfg!(unix) => refused = Some(error),
            content if !replaced => return content,
            _ => {}
        }
    }
    Err(refused.unwrap_or_else(|| {
        input(
            target,
            None,
            "the folder was replaced again and again while it was read",
            "a folder that stays",
        )
    }))
}

/// What tells one file from another that takes its place; `None` where there is no such mark.
fn identity(there: &fs::Metadata) -> Option<(u64, u64)> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Some((there.dev(), there.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = there;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 2] = ["a.txt", "b.txt"];

    fn files(content: &str) -> Vec<(&'static str, Vec<u8>)> {
        NAMES.iter().map(|name| (*name, format!("{content} {name}").into_bytes())).collect()
    }

    /// `old` or `new`, if what is read is wholly the one or the other.
    fn state(target: &Path) -> Option<String> {
        let folder = locate(target);
        ["old", "new"].into_iter().map(str::to_owned).find(|content| {
            files(content)
                .iter()
                .all(|(name, bytes)| fs::read(folder.join(name)).ok().as_ref() == Some(bytes))
        })
    }

    fn entries(parent: &Path) -> Vec<String> {
        let mut entries: Vec<_> =
            fs::read_dir(parent).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        entries.sort();
        entries
    }

    fn claim(target: &Path) -> Result<Claim, Error> {
        Claim::new(target, "model", &NAMES)
    }

    fn check(target: &Path) -> Result<(), Error> {
        super::check(target, "model", &NAMES)
    }

    fn replace_with(target: &Path, content: &str, hook: Hook<'_>) -> Result<(), Error> {
        claim(target).unwrap().replace_with(&files(content), hook)
    }

    fn written(target: &Path, content: &str) {
        replace(target, &files(content)).unwrap();
        assert_eq!(state(target).as_deref(), Some(content));
        assert_eq!(entries(target), NAMES);
    }

    /// Calls `run` with 0, 1, 2 … until it says that there was no such step.
    fn each_step(mut run: impl FnMut(usize) -> bool) -> usize {
        (0..100).position(|step| !run(step)).expect("fewer than 100 steps")
    }

    #[test]
    fn a_folder_is_created_and_replaced() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("model");
        check(&target).unwrap();
        assert!(entries(parent.path()).is_empty(), "a check leaves nothing behind");
        for content in ["old", "new", "old"] {
            written(&target, content);
            assert_eq!(entries(parent.path()), ["model"]);
        }
        check(&target).unwrap();
        assert_eq!((state(&target).as_deref(), entries(&target).len()), (Some("old"), 2));
        // An empty folder stays when nothing is written to it.
        let empty = parent.path().join("empty");
        fs::create_dir(&empty).unwrap();
        check(&empty).unwrap();
        assert!(entries(&empty).is_empty() && !exists(&empty) && exists(&target));
    }

    #[test]
    fn an_error_at_any_step_leaves_one_of_the_two_whole_and_says_which() {
        for existing in [true, false] {
            let reached = each_step(|step| {
                let parent = tempfile::tempdir().unwrap();
                let target = parent.path().join("model");
                if existing {
                    written(&target, "old");
                }
                let mut calls = 0;
                let result = replace_with(&target, "new", &mut || {
                    calls += 1;
                    if calls > step { Err(io::Error::other("full")) } else { Ok(()) }
                });
                let Err(error) = result else { return false };
                let in_place = error.to_string().contains("full; the new content is in place");
                match state(&target).as_deref() {
                    Some(content) => assert_eq!(content, if in_place { "new" } else { "old" }, "{error}"),
                    None => assert_eq!((existing, in_place, entries(parent.path())), (false, false, vec![])),
                }
                assert_eq!(in_place, step > 4);
                // The next one removes what this one could not.
                check(&target).unwrap();
                let left = if existing || in_place { 2 } else { 0 };
                assert_eq!(fs::read_dir(&target).map_or(0, Iterator::count), left, "step {step}");
                true
            });
            // Two drafts, two names for them, the one step; two files put in place, two steps to remove the rest.
            assert_eq!(reached, 9);
        }
    }

    /// Not a test of its own: the next one runs it in a process that ends without warning in the middle.
    #[test]
    #[ignore = "run by a_crash_at_any_step_leaves_one_of_the_two_whole in a process of its own"]
    fn crash() {
        let variable = |name| std::env::var(name).unwrap_or_default();
        if variable("ELMAN_CRASH_STEP").is_empty() {
            return;
        }
        let step: usize = variable("ELMAN_CRASH_STEP").parse().unwrap();
        let mut calls = 0;
        let target = variable("ELMAN_CRASH_TARGET");
        replace_with(Path::new(&target), "new", &mut || {
            calls += 1;
            if calls > step {
                std::process::abort();
            }
            Ok(())
        })
        .unwrap();
    }

    #[test]
    fn a_crash_at_any_step_leaves_one_of_the_two_whole() {
        let mut states = Vec::new();
        let steps = each_step(|step| {
            let parent = tempfile::tempdir().unwrap();
            let target = parent.path().join("model");
            written(&target, "old");
            let status = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "folder::tests::crash", "--ignored"])
                .env("ELMAN_CRASH_STEP", step.to_string())
                .env("ELMAN_CRASH_TARGET", &target)
                .output()
                .unwrap()
                .status;
            let found = state(&target).unwrap_or_else(|| panic!("neither whole after step {step}"));
            // The next claim ends what the crash has interrupted.
            check(&target).unwrap();
            assert_eq!((state(&target), entries(&target).len()), (Some(found.clone()), 2), "step {step}");
            assert_eq!(fs::read_to_string(target.join("a.txt")).unwrap(), format!("{found} a.txt"));
            states.push(found);
            !status.success()
        });
        assert_eq!(steps, 9);
        let new = states.iter().position(|state| state == "new").unwrap();
        assert!(new == 5 && states[new..].iter().all(|state| state == "new"), "{states:?}");
    }

    #[test]
    fn what_is_no_model_folder_is_not_replaced() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("holiday");
        fs::create_dir(&target).unwrap();
        fs::create_dir(target.join(LOST_AND_FOUND)).unwrap();
        check(&target).unwrap(); // empty
        fs::write(target.join("photo.jpg"), "").unwrap();
        let message = replace(&target, &files("new")).unwrap_err().to_string();
        assert!(message.contains("holds \"photo.jpg\", which no model has"), "{message}");
        assert!(target.join("photo.jpg").exists());
        let file = target.join("photo.jpg");
        assert!(check(&file).unwrap_err().to_string().contains("a file, expected a model folder"));
        assert!(check(Path::new("/")).is_err() && check(Path::new("")).is_err());
        let missing = check(&parent.path().join("missing/model")).unwrap_err();
        assert!(matches!(missing, Error::Io { .. }), "{missing}");
    }

    /// Folders of such names were once removed, and a pipe of such a name was waited for.
    #[test]
    fn nothing_of_the_user_is_removed_whatever_its_name() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("model");
        written(&target, "old");
        for name in [".model.old", ".model.new-photos", ".elman-next", ".elman-new-photos"] {
            fs::create_dir(parent.path().join(name)).unwrap();
            fs::write(parent.path().join(name).join("photo.jpg"), "").unwrap();
        }
        written(&target, "new");
        assert_eq!(entries(parent.path()).len(), 5);
        // Within the folder, too: only what a replacement makes is removed.
        for name in [".elman-next", ".elman-new-photos"] {
            fs::create_dir(target.join(name)).unwrap();
            fs::write(target.join(name).join("photo.jpg"), "").unwrap();
            let message = check(&target).unwrap_err().to_string();
            assert!(message.contains(&format!("holds {name:?}, which no model has")), "{message}");
            assert!(target.join(name).join("photo.jpg").exists());
            fs::remove_dir_all(target.join(name)).unwrap();
        }
        #[cfg(unix)]
        for name in [LOCK, NEXT, ".elman-new-1", "a.txt"] {
            use rustix::fs::{CWD, FileType, Mode, mknodat};
            let _ = fs::remove_file(target.join(name));
            mknodat(CWD, target.join(name), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
            let message = check(&target).unwrap_err().to_string();
            assert!(message.contains(&format!("holds {name:?}")), "{message}");
            read(&target, "a.txt", |_| Ok(())).unwrap(); // does not wait for a writer
            fs::remove_file(target.join(name)).unwrap();
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_is_replaced_while_it_is_read_is_read_again() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("target");
        let write = |content: &str| super::replace(&target, &[("file", content.into())]).unwrap();
        write("0");
        let reads = std::cell::Cell::new(0);
        // Replaced during so many reads, each of which is thrown away.
        let read_while_replaced = |times: usize| {
            reads.set(0);
            read(&target, "file", |folder| {
                let content = fs::read_to_string(folder.join("file")).unwrap();
                reads.set(reads.get() + 1);
                if reads.get() <= times {
                    write(&reads.get().to_string());
                }
                Ok(content)
            })
        };
        assert_eq!(read_while_replaced(0).unwrap(), "0");
        assert_eq!((read_while_replaced(READS - 1).unwrap(), reads.get()), ((READS - 1).to_string(), READS));
        let message = read_while_replaced(READS).unwrap_err().to_string();
        assert!(message.contains("replaced again and again while it was read"), "{message}");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_a_folder_stays_a_link() {
        let parent = tempfile::tempdir().unwrap();
        let (target, link) = (parent.path().join("model"), parent.path().join("link"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        for content in ["old", "new"] {
            replace(&link, &files(content)).unwrap();
            assert_eq!(state(&target).as_deref(), Some(content));
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        }
    }

    /// A mount point, or a folder of an image's lower layer, cannot be renamed; the current folder neither, by this name.
    #[cfg(unix)]
    #[test]
    fn the_folder_itself_stays_with_its_mode_and_the_modes_of_its_files() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("model");
        written(&target, "old");
        let mode = |name: &str, mode| {
            fs::set_permissions(target.join(name), fs::Permissions::from_mode(mode)).unwrap()
        };
        mode("", 0o700);
        mode("a.txt", 0o600);
        let state = |name: &str| fs::metadata(target.join(name)).unwrap();
        let (number, public) = (state("").ino(), state("b.txt").mode());
        written(&target, "new");
        assert_eq!((state("").ino(), state("").mode() & 0o777), (number, 0o700));
        assert_eq!((state("a.txt").mode() & 0o777, state("b.txt").mode()), (0o600, public));
        // A content in the middle of its replacement has the folder's mode, too.
        mode("", 0o755);
        let _ = replace_with(&target, "old", &mut || {
            let next = target.join(NEXT);
            if is_folder(&next) {
                assert_eq!(fs::metadata(next).unwrap().mode() & 0o777, 0o755);
            }
            Ok(())
        });
    }

    #[test]
    fn one_process_at_a_time_writes_and_others_are_told_which() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("model");
        let first = claim(&target).unwrap();
        let message = claim(&target).unwrap_err().to_string();
        let id = std::process::id();
        assert!(
            message.contains(&format!("model: cannot lock: process {id} is writing to this folder")),
            "{message}"
        );
        first.replace(&files("old")).unwrap();
        first.replace(&files("new")).unwrap();
        assert_eq!(state(&target).as_deref(), Some("new"));
        // A replacement waits for another one.
        let waiting = thread::spawn({
            let target = target.clone();
            move || replace(&target, &files("old"))
        });
        thread::sleep(Duration::from_millis(30));
        assert_eq!(state(&target).as_deref(), Some("new"));
        drop(first);
        waiting.join().unwrap().unwrap();
        assert_eq!(state(&target).as_deref(), Some("old"));
        assert_eq!(entries(&target), NAMES);
        // What a killed process leaves locks nobody out.
        fs::write(target.join(LOCK), "999999999").unwrap();
        written(&target, "new");
    }

    #[test]
    fn many_writers_and_readers_meet_only_whole_contents() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("model");
        let text = |folder: &Path, name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).map_err(|source| Error::Io { path, action: "read", source })
        };
        written(&target, "old");
        let done = std::sync::atomic::AtomicBool::new(false);
        thread::scope(|scope| {
            let writers: Vec<_> = (0..3)
                .map(|writer| {
                    let target = &target;
                    scope.spawn(move || {
                        (0..12).try_for_each(|number| replace(target, &files(&format!("{writer} {number}"))))
                    })
                })
                .collect();
            let reader = scope.spawn(|| {
                let mut reads = 0;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let (a, b) =
                        read(&target, "a.txt", |folder| Ok((text(folder, "a.txt")?, text(folder, "b.txt")?)))
                            .unwrap();
                    assert_eq!(a.strip_suffix("a.txt"), b.strip_suffix("b.txt"));
                    reads += 1;
                }
                reads
            });
            let results: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(reader.join().unwrap() > 0);
            results.into_iter().for_each(|result| result.unwrap());
        });
        assert_eq!(entries(&target), NAMES);
    }
}
