//! Which models are served. Files and folders are named on the command line and nowhere else: a request names a model, which is looked up
//! among those that were found there, so that no path of a request reaches the file system.
//!
//! A file is a model of its own name, version 1. Of a folder, these are:
//!
//! ```text
//! folder/NAME.sslm                   model NAME, version 1
//! folder/NAME/VERSION/model.sslm     model NAME, a version by number
//! ```
//!
//! What appears there is loaded, what is renamed over a file takes its place, and what goes is dropped, while requests that run keep what
//! they began with. A file that cannot be loaded leaves what was served before.

use crate::failure::{Failure, Kind};
use crate::served::{Preparing, Served};
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

/// Models found below a folder beyond so many are not looked at.
const MAX_MODELS: usize = 10_000;

/// One version of one model, as lists of models show it.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) version: u64,
    pub(crate) state: State,
    /// Why it is served although another file lies in its place.
    pub(crate) trouble: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) enum State {
    Ready(Arc<Served>),
    /// Why it could not be loaded.
    Failed(String),
    /// By request.
    Unloaded,
}

impl State {
    fn ready(self) -> Option<Arc<Served>> {
        match self {
            State::Ready(served) => Some(served),
            State::Failed(_) | State::Unloaded => None,
        }
    }
}

pub(crate) struct Repository {
    places: Vec<PathBuf>,
    preparing: Preparing,
    models: RwLock<BTreeMap<(String, u64), Entry>>,
    /// Names of models that are not wanted for now.
    unloaded: RwLock<BTreeSet<String>>,
    /// Held while files are looked at, so that none is loaded twice.
    loading: Mutex<()>,
}

struct Entry {
    /// What was looked at last; absent if it is to be looked at again, whatever lies there.
    file: Option<FileId>,
    state: State,
    /// Why this file could not take the place of what is served.
    trouble: Option<String>,
}

impl Entry {
    /// Why its file is not what is served, if it should be.
    fn why_not(&self) -> Option<&str> {
        match &self.state {
            State::Failed(why) => Some(why),
            State::Ready(_) | State::Unloaded => self.trouble.as_deref(),
        }
    }
}

/// By which a file is told from another one of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    len: u64,
    modified: Option<SystemTime>,
    inode: u64,
}

impl FileId {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let inode = 0;
        FileId { len: metadata.len(), modified: metadata.modified().ok(), inode }
    }
}

impl Repository {
    /// Loads what there is.
    ///
    /// # Errors
    /// If a place cannot be read, two models have the same name and version, or a file that was named cannot be loaded. What else is in
    /// a folder and cannot be loaded is said on stderr.
    pub(crate) fn open(places: Vec<PathBuf>, preparing: Preparing) -> Result<Self> {
        let repository =
            Repository { places, preparing, models: RwLock::default(), unloaded: RwLock::default(), loading: Mutex::default() };
        let files: Vec<PathBuf> = repository.places.iter().filter(|place| !place.is_dir()).cloned().collect();
        for ((name, version), path) in repository.found()? {
            if files.contains(&path) {
                let served = Served::open(&path, &name, version, &repository.preparing)?;
                let file = FileId::of(&path.metadata().with_context(|| format!("cannot read {}", path.display()))?);
                let entry = Entry { file: Some(file), state: State::Ready(Arc::new(served)), trouble: None };
                write(&repository.models).insert((name, version), entry);
            }
        }
        // Not every folder has to be there yet, and it is said on stderr.
        let _ = repository.refresh();
        Ok(repository)
    }

    /// All versions of all models, by name and version.
    pub(crate) fn list(&self) -> Vec<Listed> {
        let listed = |((name, version), entry): (&(String, u64), &Entry)| Listed {
            name: name.clone(),
            version: *version,
            state: entry.state.clone(),
            trouble: entry.trouble.clone(),
        };
        read(&self.models).iter().map(listed).collect()
    }

    /// Whether any model can be run, unless there is none. One file that cannot be loaded does not keep clients from the others.
    pub(crate) fn is_ready(&self) -> bool {
        let models = read(&self.models);
        models.is_empty() || models.values().any(|entry| matches!(entry.state, State::Ready(_)))
    }

    /// A version of a model; without one, the greatest that is ready.
    pub(crate) fn get(&self, name: &str, version: Option<&str>) -> Result<Arc<Served>, Failure> {
        let models = read(&self.models);
        let of_name = || models.range((name.to_owned(), 0)..=(name.to_owned(), u64::MAX)).rev();
        let wanted = version.filter(|version| !version.is_empty());
        let mut found = of_name().filter(|((_, own), _)| wanted.is_none_or(|wanted| own.to_string() == wanted));
        let ready = |(_, entry): (_, &Entry)| match &entry.state {
            State::Ready(served) => Some(Arc::clone(served)),
            State::Failed(_) | State::Unloaded => None,
        };
        if let Some(served) = found.clone().find_map(ready) {
            return Ok(served);
        }
        let version = wanted.map_or(String::new(), |version| format!(", version '{version}'"));
        Err(match found.next().map(|(_, entry)| &entry.state) {
            None => Failure::new(Kind::NotFound, format!("there is no model '{name}'{version}")),
            Some(State::Failed(why)) => {
                Failure::new(Kind::Unavailable, format!("model '{name}'{version} could not be loaded: {why}"))
            }
            Some(_) => Failure::new(Kind::Unavailable, format!("model '{name}'{version} is not loaded")),
        })
    }

    /// What is ready: a version of a model, all versions of one, or all of all.
    pub(crate) fn ready(&self, name: Option<&str>, version: Option<&str>) -> Result<Vec<Arc<Served>>, Failure> {
        if let (Some(name), Some(_)) = (name, version) {
            return self.get(name, version).map(|served| vec![served]);
        }
        let wanted = |listed: &Listed| name.is_none_or(|name| listed.name == name);
        let found: Vec<Arc<Served>> = self.list().into_iter().filter(wanted).filter_map(|listed| listed.state.ready()).collect();
        match name {
            // Why there is none.
            Some(name) if found.is_empty() => self.get(name, None).map(|served| vec![served]),
            _ => Ok(found),
        }
    }

    /// Versions of a model that are ready.
    pub(crate) fn versions(&self, name: &str) -> Vec<String> {
        let ready = self.ready(Some(name), None).unwrap_or_default();
        ready.into_iter().map(|served| served.version.to_string()).collect()
    }

    /// Loads a model that was unloaded or is new, or failed before, and looks for its new versions. It fails if one of them cannot be loaded,
    /// even if what was served before still is.
    pub(crate) fn load(&self, name: &str) -> Result<(), Failure> {
        write(&self.unloaded).remove(name);
        for (_, entry) in write(&self.models).iter_mut().filter(|((own, _), _)| own == name) {
            if entry.why_not().is_some() || matches!(entry.state, State::Unloaded) {
                entry.file = None;
            }
        }
        let unread = "models stay as they are: the log of the server says why";
        self.refresh().map_err(|_| Failure::new(Kind::Unavailable, unread))?;
        for ((_, version), entry) in read(&self.models).iter().filter(|((own, _), _)| own == name) {
            if let Some(why) = entry.why_not() {
                let still = if entry.trouble.is_some() { "what was loaded before is still served: " } else { "" };
                let message = format!("model '{name}' could not be loaded (version {version}): {still}{why}");
                return Err(Failure::new(Kind::Unavailable, message));
            }
        }
        self.get(name, None).map(drop)
    }

    /// Drops a model until it is loaded again. Requests that have it keep it as long as they need.
    pub(crate) fn unload(&self, name: &str) -> Result<(), Failure> {
        let mut models = write(&self.models);
        let mut found = models.iter_mut().filter(|((own, _), _)| own == name).peekable();
        if found.peek().is_none() {
            return Err(Failure::new(Kind::NotFound, format!("there is no model '{name}'")));
        }
        found.for_each(|(_, entry)| (entry.state, entry.trouble) = (State::Unloaded, None));
        write(&self.unloaded).insert(name.to_owned());
        Ok(())
    }

    /// Looks for what has changed, loads it, and drops what is gone.
    ///
    /// # Errors
    /// If a place cannot be read, or says two things at once. The error was logged, and is nothing for clients.
    pub(crate) fn refresh(&self) -> Result<()> {
        let _one_at_a_time = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let found = match self.found() {
            Ok(found) => found,
            Err(e) => {
                tracing::error!("models stay as they are: {}", ssl_cli::causes(&e));
                return Err(e);
            }
        };
        write(&self.models).retain(|key, _| found.contains_key(key));
        for ((name, version), path) in found {
            if let Some(entry) = self.changed(&path, &name, version) {
                write(&self.models).insert((name, version), entry);
            }
        }
        Ok(())
    }

    /// What takes the place of a version, if its file is another one than before.
    fn changed(&self, path: &Path, name: &str, version: u64) -> Option<Entry> {
        let Ok(metadata) = path.metadata() else { return None };
        let file = FileId::of(&metadata);
        let before = {
            let models = read(&self.models);
            let entry = models.get(&(name.to_owned(), version));
            if entry.is_some_and(|entry| entry.file == Some(file)) {
                return None;
            }
            entry.map(|entry| entry.state.clone())
        };
        let (state, trouble) = if read(&self.unloaded).contains(name) {
            (State::Unloaded, None)
        } else {
            match Served::open(path, name, version, &self.preparing) {
                Ok(served) => {
                    tracing::info!(model = name, version, "loaded {}", ssl_cli::printable(&path.display().to_string()));
                    (State::Ready(Arc::new(served)), None)
                }
                Err(e) => {
                    let why = ssl_cli::causes(&e);
                    tracing::error!(model = name, version, "cannot load {}: {why}", path.display());
                    // Where it lies is nothing for clients.
                    let why = why.replace(&format!("{}: ", path.display()), "");
                    match before {
                        Some(State::Ready(served)) => (State::Ready(served), Some(why)),
                        _ => (State::Failed(why), None),
                    }
                }
            }
        };
        Some(Entry { file: Some(file), state, trouble })
    }

    /// All files of models, by what they are called.
    fn found(&self) -> Result<BTreeMap<(String, u64), PathBuf>> {
        let mut found = BTreeMap::new();
        let mut note = |name: String, version: u64, path: PathBuf| {
            if let Some(other) = found.insert((name.clone(), version), path.clone()).filter(|other| *other != path) {
                let [one, other] = [&path, &other].map(|path| path.display());
                bail!("two models are called '{name}', version {version}: expected one, found {one} and {other}");
            }
            Ok(())
        };
        for place in &self.places {
            if !place.is_dir() {
                let name = stem(place).with_context(|| format!("{}: expected a file name for a model", place.display()))?;
                note(name, 1, place.clone())?;
                continue;
            }
            for path in entries(place)? {
                if path.is_dir() {
                    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
                    for version in entries(&path)? {
                        let number = version.file_name().and_then(|number| number.to_str()?.parse::<u64>().ok());
                        let file = version.join("model.sslm");
                        if let Some(number) = number.filter(|_| file.is_file()) {
                            note(name.to_owned(), number, file)?;
                        }
                    }
                } else if path.extension().is_some_and(|extension| extension == "sslm")
                    && let Some(name) = stem(&path)
                {
                    note(name, 1, path)?;
                }
            }
        }
        ensure!(found.len() <= MAX_MODELS, "expected at most {MAX_MODELS} models, found {}", found.len());
        Ok(found)
    }
}

fn stem(path: &Path) -> Option<String> {
    path.file_stem()?.to_str().map(str::to_owned)
}

/// What lies in a folder, but for hidden files: those are not complete.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let all = || -> std::io::Result<Vec<PathBuf>> { folder.read_dir()?.map(|entry| entry.map(|entry| entry.path())).collect() };
    let is_hidden = |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let mut paths = all().with_context(|| format!("cannot read {}", folder.display()))?;
    paths.retain(|path| !is_hidden(path));
    Ok(paths)
}

/// Nothing that is done under these locks leaves half of it behind.
fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
