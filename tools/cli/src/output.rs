//! Files that appear whole or not at all, and outputs that are not inputs: a call that fails leaves everything as it was.
//!
//! Where the system offers it, a file has no name until it is complete, so that nothing is left of it however the process ends. Elsewhere
//! it has a temporary name, which is removed when it is not put in place, and before a signal ends the process.

use crate::signals::Registered;
use anyhow::{Context, Result, bail, ensure};
use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf, is_separator};
use tempfile::NamedTempFile;

/// A file that becomes its target when it is complete ([`put_in_place`]) and vanishes otherwise, even if a signal ends the process.
/// Errors of writing name the target.
#[derive(Debug)]
pub struct PartialFile {
    file: Form,
    /// The path as the user gave it, for messages.
    target: PathBuf,
    /// What is replaced: the target, or where its symlinks lead.
    replaces: PathBuf,
}

/// What a file is until it is in place.
#[derive(Debug)]
enum Form {
    /// In the target's folder without a name, so that it is gone when the process is.
    #[cfg(target_os = "linux")]
    Unnamed(File),
    /// Beside the target under a name of its own.
    Named(NamedTempFile, Registered),
}

impl PartialFile {
    /// What is written so far.
    pub fn as_file(&self) -> &File {
        match &self.file {
            #[cfg(target_os = "linux")]
            Form::Unnamed(file) => file,
            Form::Named(file, _) => file.as_file(),
        }
    }

    /// A path by which this process can open the file meanwhile.
    pub fn path(&self) -> PathBuf {
        match &self.file {
            #[cfg(target_os = "linux")]
            Form::Unnamed(file) => unnamed::path(file),
            Form::Named(file, _) => file.path().to_owned(),
        }
    }

    /// Replaces the target, in one step. What is there is kept until the result is dropped, if `keeps_old`.
    fn put(self, keeps_old: bool) -> io::Result<Put> {
        let PartialFile { file, replaces, .. } = self;
        let old = match std::fs::symlink_metadata(&replaces) {
            Err(e) if e.kind() == ErrorKind::NotFound => Old::None,
            // Where a file cannot have two names it is replaced for good.
            _ if keeps_old => linked(&replaces, |to| std::fs::hard_link(&replaces, to)).map_or(Old::Gone, Old::Kept),
            _ => Old::Gone,
        };
        match file {
            #[cfg(target_os = "linux")]
            Form::Unnamed(file) => match unnamed::link(&file, &replaces) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                    let (named, registered) = linked(&replaces, |to| unnamed::link(&file, to))?;
                    named.persist(&replaces).map_err(|e| e.error)?;
                    drop(registered);
                }
                done => done?,
            },
            Form::Named(file, registered) => {
                file.persist(&replaces).map_err(|e| e.error)?;
                drop(registered);
            }
        }
        Ok(Put { at: replaces, old })
    }

    /// An error of writing, with the file that it is about.
    fn named<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|e| io::Error::new(e.kind(), format!("cannot write {}: {e}", self.target.display())))
    }
}

impl Write for PartialFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.named(self.as_file().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.named(self.as_file().flush())
    }
}

impl Seek for PartialFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.named(self.as_file().seek(to))
    }
}

/// A file that is in place, as long as what was there before can come back.
struct Put {
    at: PathBuf,
    old: Old,
}

/// What was there before a file was put in place.
enum Old {
    /// Nothing.
    None,
    /// A file, which has another name now.
    Kept((NamedTempFile<()>, Registered)),
    /// A file that is gone.
    Gone,
}

impl Put {
    /// Makes the folder what it was before.
    fn take_back(self) {
        // It is an error already that calls for this.
        match self.old {
            Old::None => _ = std::fs::remove_file(self.at),
            Old::Kept((old, _registered)) => _ = old.persist(self.at),
            Old::Gone => {}
        }
    }
}

/// Replaces the targets of files that are complete, each in one step: all, or none of them as far as a file that was replaced can have
/// two names.
///
/// # Errors
/// If that is not possible.
pub fn put_in_place(files: Vec<PartialFile>) -> Result<()> {
    let last = files.len().saturating_sub(1);
    let mut put = Vec::new();
    for (i, file) in files.into_iter().enumerate() {
        let target = file.target.clone();
        match file.put(i < last) {
            Ok(done) => put.push(done),
            Err(e) => {
                put.into_iter().rev().for_each(Put::take_back);
                return Err(e).with_context(|| format!("cannot write {}", target.display()));
            }
        }
    }
    Ok(())
}

/// A file that is to become `target`, in the same folder. A symlink stays, and what it leads to is replaced.
///
/// # Errors
/// If the folder of `target` is missing or cannot be written, or `target` is something other than a regular file.
pub fn file_beside(target: &Path) -> Result<PartialFile> {
    let cannot_write = || format!("cannot write {}", target.display());
    let replaces = behind_links(target);
    let folder = folder(&replaces);
    ensure!(folder.is_dir(), "{}: expected a folder {}, found none", cannot_write(), folder.display());
    let permissions = permissions(target).with_context(cannot_write)?;
    let file = form(folder).with_context(|| format!("cannot write into {}", folder.display()))?;
    let file = PartialFile { file, target: target.to_owned(), replaces };
    if let Some(permissions) = permissions {
        file.as_file().set_permissions(permissions).with_context(cannot_write)?;
    }
    Ok(file)
}

/// A new file in a folder, without a name where that can be had.
fn form(folder: &Path) -> io::Result<Form> {
    #[cfg(target_os = "linux")]
    if let Some(file) = unnamed::file_in(folder) {
        return Ok(Form::Unnamed(file));
    }
    named_in(folder)
}

fn named_in(folder: &Path) -> io::Result<Form> {
    let (file, registered) = Registered::new(|| builder().tempfile_in(folder))?;
    Ok(Form::Named(file, registered))
}

/// How names of files are chosen that are not in place.
fn builder() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".ssl-partial-");
    // As any other new file: the umask decides.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
}

/// A name beside `target` that `link` gives to a file.
fn linked(target: &Path, mut link: impl FnMut(&Path) -> io::Result<()>) -> io::Result<(NamedTempFile<()>, Registered)> {
    Registered::new(|| builder().make_in(folder(target), &mut link))
}

/// Files without a name, which a name can be given to.
#[cfg(target_os = "linux")]
mod unnamed {
    use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};
    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd;
    use std::path::{Path, PathBuf};

    /// A new file in a folder, if the file system has such files and `/proc` is there, by which they get their names.
    pub(super) fn file_in(folder: &Path) -> Option<File> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = File::from(open(folder, flags, Mode::from_raw_mode(0o666)).ok()?);
        path(&file).exists().then_some(file)
    }

    /// By which this process can open it.
    pub(super) fn path(file: &File) -> PathBuf {
        format!("/proc/self/fd/{}", file.as_raw_fd()).into()
    }

    /// Gives it a name that nothing has.
    pub(super) fn link(file: &File, name: &Path) -> io::Result<()> {
        Ok(linkat(CWD, path(file), CWD, name, AtFlags::SYMLINK_FOLLOW)?)
    }
}

/// What a call reads or writes: what its help calls it, and where it lies. Absent where the call does without.
pub type Named<'a> = (&'a str, Option<&'a Path>);

/// Checks that no output of a call is one of its inputs or another output, however their paths are spelled: one would replace the
/// other.
///
/// # Errors
/// If there is one, naming both.
pub fn ensure_apart(inputs: &[Named<'_>], outputs: &[Named<'_>]) -> Result<()> {
    // To look where thousands of images are takes its time.
    if outputs.iter().all(|(_, path)| path.is_none()) {
        return Ok(());
    }
    let found = |&(name, path): &Named<'_>| path.map(|path| (name.to_owned(), place(path)));
    let mut others: Vec<(String, PathBuf)> = inputs.iter().filter_map(found).collect();
    for output in outputs {
        let Some((name, place)) = found(output) else { continue };
        if let Some((other, _)) = others.iter().find(|other| other.1 == place) {
            bail!("{name}: expected another file than {other}, found the same: {}", place.display());
        }
        others.push((name, place));
    }
    Ok(())
}

/// One path for all spellings of it, whether a file is there or not.
fn place(path: &Path) -> PathBuf {
    let path = behind_links(path);
    match (folder(&path).canonicalize(), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path,
    }
}

/// The permissions of the file that is there, if one is.
fn permissions(target: &Path) -> Result<Option<Permissions>> {
    match std::fs::metadata(target) {
        Ok(found) => {
            ensure!(!found.is_dir(), "expected a file, found a folder");
            ensure!(found.is_file(), "expected a regular file or a new name, found a device, FIFO or socket");
            Ok(Some(found.permissions()))
        }
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let is_name = target.file_name().is_some() && !target.to_string_lossy().ends_with(is_separator);
            ensure!(is_name, "expected the name of a file, found none");
            Ok(None)
        }
        Err(e) => Err(e.into()),
    }
}

/// Where the symlinks lead that `path` is the first of, whether there is something or not.
fn behind_links(path: &Path) -> PathBuf {
    let mut path = path.to_path_buf();
    // As many as an operating system follows.
    for _ in 0..40 {
        let Ok(next) = std::fs::read_link(&path) else { break };
        path = folder(&path).join(next);
    }
    path
}

/// The folder that `path` lies in.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn write(target: &Path, text: &str) -> Result<()> {
        let mut file = file_beside(target)?;
        write!(file, "{text}")?;
        put_in_place(vec![file])
    }

    #[test]
    fn files_and_new_names_are_written() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("file");
        for text in ["new", "replaced"] {
            write(&path, text).expect("a file or a new name");
            assert_eq!(std::fs::read_to_string(&path).expect("the file"), text);
        }
        drop(file_beside(&path).expect("a file"));
        assert_eq!(std::fs::read_dir(&folder).expect("the folder").count(), 1, "nothing else stays");
    }

    /// As where the file system has no files without a name.
    fn named_beside(target: &Path) -> PartialFile {
        let file = named_in(folder(target)).expect("a writable folder");
        PartialFile { file, target: target.to_owned(), replaces: target.to_owned() }
    }

    fn unnamed_beside(target: &Path) -> PartialFile {
        file_beside(target).expect("a writable folder")
    }

    const FORMS: [fn(&Path) -> PartialFile; 2] = [named_beside, unnamed_beside];

    #[test]
    fn files_can_be_read_before_they_are_in_place() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for form in FORMS {
            let mut file = form(&folder.path().join("file"));
            write!(file, "partial").expect("room");
            assert_eq!(std::fs::read_to_string(file.path()).expect("a path"), "partial");
        }
        assert_eq!(std::fs::read_dir(&folder).expect("the folder").count(), 0, "nothing stays");
    }

    /// The last file cannot be put in place, so none of the others may be.
    #[test]
    fn all_files_are_put_in_place_or_none() {
        for form in FORMS {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let at = |name: &str| folder.path().join(name);
            std::fs::write(at("there"), "old").expect("a writable folder");
            let read = |name: &str| std::fs::read_to_string(at(name)).ok();
            let files = || {
                let mut files: Vec<PartialFile> = ["new", "there", "last"].iter().map(|name| form(&at(name))).collect();
                files.iter_mut().for_each(|file| write!(file, "complete").expect("room"));
                files
            };
            let complete = files();
            std::fs::create_dir(at("last")).expect("a writable folder");
            let e = put_in_place(complete).expect_err("a folder is in the way");
            assert!(format!("{e:#}").starts_with(&format!("cannot write {}: ", at("last").display())), "{e:#}");
            assert_eq!((read("new"), read("there").as_deref()), (None, Some("old")));
            std::fs::remove_dir(at("last")).expect("an empty folder");
            assert_eq!(std::fs::read_dir(&folder).expect("the folder").count(), 1, "nothing else stays");

            put_in_place(files()).expect("nothing is in the way");
            assert!(["new", "there", "last"].iter().all(|name| read(name).as_deref() == Some("complete")));
            assert_eq!(std::fs::read_dir(&folder).expect("the folder").count(), 3, "nothing else stays");
        }
    }

    /// What the others make in a test of its own process, so that it can be ended.
    #[cfg(target_os = "linux")]
    #[test]
    #[ignore = "a_signal_removes_files_that_have_names starts it"]
    fn waits_with_a_file() {
        let target = std::env::var_os("SSLM_TARGET").expect("where the file goes");
        crate::signals::end_tools();
        let _file = named_beside(Path::new(&target));
        std::thread::sleep(std::time::Duration::from_secs(60));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_signal_removes_files_that_have_names() {
        use std::os::unix::process::ExitStatusExt;
        use std::process::{Command, Stdio};
        let folder = tempfile::tempdir().expect("a temporary folder");
        let files = || std::fs::read_dir(&folder).expect("the folder").count();
        let mut test = Command::new(std::env::current_exe().expect("this program"));
        test.args(["--ignored", "--exact", "output::tests::waits_with_a_file"]).stdout(Stdio::null());
        let mut process = test.env("SSLM_TARGET", folder.path().join("file")).spawn().expect("it starts");
        while files() == 0 {
            assert!(process.try_wait().expect("a process").is_none(), "it makes a file first");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let id = process.id().to_string();
        assert!(Command::new("kill").args(["-s", "TERM", &id]).status().expect("kill starts").success());
        assert_eq!((process.wait().expect("a process").signal(), files()), (Some(15), 0));
    }

    #[cfg(unix)]
    #[test]
    fn permissions_stay() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("file");
        std::fs::write(&path, "").expect("a writable folder");
        for mode in [0o600, 0o666, 0o755] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).expect("our own file");
            write(&path, "new").expect("a file");
            assert_eq!(std::fs::metadata(&path).expect("the file").permissions().mode() & 0o777, mode);
        }
    }

    #[cfg(unix)]
    #[test]
    fn symlinks_stay() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("inner")).expect("a writable folder");
        symlink("inner/link", at("link")).expect("a writable folder");
        symlink("file", at("inner/link")).expect("a writable folder");
        for text in ["new", "replaced"] {
            write(&at("link"), text).expect("links to a file or a new name");
            assert_eq!(std::fs::read_to_string(at("inner/file")).expect("the file"), text);
            assert!(at("link").is_symlink() && at("inner/link").is_symlink());
        }
        symlink("circle", at("circle")).expect("a writable folder");
        assert!(write(&at("circle"), "").is_err() && at("circle").is_symlink());
    }

    #[test]
    fn files_are_apart_by_place() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("inner")).expect("a writable folder");
        let (file, same, other) = (at("file"), at("inner/../file"), at("inner/file"));
        let apart = |inputs: &[&Path], outputs: &[&Path]| {
            let inputs: Vec<Named> = inputs.iter().map(|path| ("an input", Some(*path))).collect();
            let outputs: Vec<Named> = outputs.iter().map(|path| ("an output", Some(*path))).collect();
            ensure_apart(&inputs, &outputs)
        };
        for exists in [false, true] {
            if exists {
                std::fs::write(&file, "").expect("a writable folder");
            }
            apart(&[&file, &same], &[&other]).expect("inputs may be the same");
            for (inputs, outputs, with) in
                [(&[&*file][..], &[&*same][..], "an input"), (&[], &[&file, &other, &same], "an output")]
            {
                let e = apart(inputs, outputs).expect_err("the same file").to_string();
                assert!(e.starts_with(&format!("an output: expected another file than {with}, found the same")), "{e}");
            }
        }
        ensure_apart(&[("none", None)], &[("none", None), ("none", None)]).expect("nothing is nowhere");
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("inner/../file", at("link")).expect("a writable folder");
            apart(&[&at("link")], &[&file]).expect_err("the same file");
            apart(&[&file], &[&at("link")]).expect_err("the same file");
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_stays() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        let link = folder.path().join("null");
        std::os::unix::fs::symlink("/dev/null", &link).expect("a writable folder");
        for path in [&socket, &link, Path::new("/dev/null")] {
            let e = file_beside(path).expect_err("no file");
            let expected = format!("cannot write {}: expected a regular file or a new name, found a device", path.display());
            assert!(format!("{e:#}").starts_with(&expected), "{e:#}");
        }
        for (path, expected) in [("", "expected the name of a file"), ("new/", "the name of a file"), ("/", "found a folder")] {
            let e = file_beside(Path::new(path)).expect_err("no name of a file");
            assert!(format!("{e:#}").contains(expected), "{path}: {e:#}");
        }
    }
}
