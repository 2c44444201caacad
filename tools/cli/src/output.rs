//! Files that appear whole or not at all, and outputs that are not inputs: a call that fails leaves everything as it was.

use crate::signals::Registered;
use anyhow::{Context, Result, bail, ensure};
use std::fs::Permissions;
use std::io::ErrorKind;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf, is_separator};
use tempfile::NamedTempFile;

/// A file that replaces its target when it is complete ([`Self::put_in_place`]) and vanishes otherwise, even if a signal ends the
/// process.
#[derive(Debug)]
pub struct PartialFile {
    file: NamedTempFile,
    registered: Registered,
    /// The path as the user gave it, for messages.
    target: PathBuf,
    /// What is replaced: the target, or where its symlinks lead.
    replaces: PathBuf,
}

impl PartialFile {
    /// Replaces the target, in one step.
    ///
    /// # Errors
    /// If that is not possible.
    pub fn put_in_place(self) -> Result<()> {
        let PartialFile { file, registered, target, replaces } = self;
        file.persist(replaces).map_err(|e| e.error).with_context(|| format!("cannot write {}", target.display()))?;
        drop(registered);
        Ok(())
    }
}

impl Deref for PartialFile {
    type Target = NamedTempFile;

    fn deref(&self) -> &NamedTempFile {
        &self.file
    }
}

impl DerefMut for PartialFile {
    fn deref_mut(&mut self) -> &mut NamedTempFile {
        &mut self.file
    }
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
    let mut builder = tempfile::Builder::new();
    builder.prefix(".ssl-partial-");
    // As any other new file: the umask decides.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let made = Registered::new(|| builder.tempfile_in(folder));
    let (file, registered) = made.with_context(|| format!("cannot write into {}", folder.display()))?;
    if let Some(permissions) = permissions {
        file.as_file().set_permissions(permissions).with_context(cannot_write)?;
    }
    Ok(PartialFile { file, registered, target: target.to_owned(), replaces })
}

/// What a call reads or writes: what its help calls it, and where it lies. Absent where the call does without.
pub type Named<'a> = (&'a str, Option<&'a Path>);

/// Checks that no output of a call is one of its inputs or another output, however their paths are spelled: one would replace the
/// other.
///
/// # Errors
/// If there is one, naming both.
pub fn ensure_apart(inputs: &[Named<'_>], outputs: &[Named<'_>]) -> Result<()> {
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
        file.put_in_place()
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
