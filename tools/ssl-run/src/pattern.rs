//! Patterns of files that no shell has expanded: `*`, `?` and `[...]` within names, and `**` for all folders below. As shells have it, what
//! begins with a dot is only matched by a dot; a name that is not UTF-8 is matched like any other.

use anyhow::{Context, Result};
use glob::{MatchOptions, Pattern};
use std::path::{Component, Path, PathBuf};

/// Whether a text is more than the name of a file.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// The paths that a pattern matches, sorted.
pub(crate) fn matching(pattern: &str) -> Result<Vec<PathBuf>> {
    let expected = || format!("{pattern}: expected a file or a pattern of files");
    Pattern::new(pattern).with_context(expected)?;
    let mut found = vec![PathBuf::new()];
    let mut components = Path::new(pattern).components().peekable();
    while let Some(component) = components.next() {
        found = match component {
            // All that is below a folder is what the folder stands for.
            Component::Normal(name) if name == "**" && components.peek().is_none() => found,
            Component::Normal(name) => {
                let name = name.to_str().with_context(expected)?;
                let next: Vec<Vec<PathBuf>> = match name {
                    "**" => found.into_iter().map(with_folders_below).collect::<Result<_>>()?,
                    _ if is_pattern(name) => {
                        let pattern = Pattern::new(name).with_context(expected)?;
                        found.iter().map(|folder| entries(folder, &pattern)).collect::<Result<_>>()?
                    }
                    _ => found.iter().map(|folder| vec![folder.join(name)]).collect(),
                };
                next.into_iter().flatten().filter(|path| path.symlink_metadata().is_ok() || path.as_os_str().is_empty()).collect()
            }
            other => found.iter().map(|folder| folder.join(other)).collect(),
        };
    }
    found.sort();
    Ok(found)
}

/// What a folder has of such names; nothing, if it is none.
fn entries(folder: &Path, pattern: &Pattern) -> Result<Vec<PathBuf>> {
    let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::default() };
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    if !here.is_dir() {
        return Ok(Vec::new());
    }
    let cannot_read = || format!("cannot read {}", here.display());
    let mut found = Vec::new();
    for entry in here.read_dir().with_context(cannot_read)? {
        let name = entry.with_context(cannot_read)?.file_name();
        if pattern.matches_with(&name.to_string_lossy(), options) {
            found.push(folder.join(name));
        }
    }
    Ok(found)
}

/// A folder and those below it, but for hidden ones and such as links lead to.
fn with_folders_below(folder: PathBuf) -> Result<Vec<PathBuf>> {
    let all = Pattern::new("*").context("a pattern of all names")?;
    let (mut found, mut next) = (vec![folder], 0);
    while let Some(folder) = found.get(next) {
        let below = entries(folder, &all)?;
        found.extend(below.into_iter().filter(|path| path.is_dir() && !path.is_symlink()));
        next += 1;
    }
    Ok(found)
}
