//! Source files as the tests of the structure read them: code alone, without comments and the contents of literals.

use std::path::{Path, PathBuf};

/// A source file of the workspace.
pub(super) struct Source {
    /// From the root of the repository, with slashes.
    pub(super) path: String,
    /// The code. What is a comment or stands between quotes is blank; lines are where they were.
    pub(super) code: String,
    /// The file as it is.
    pub(super) text: String,
}

impl Source {
    /// On which line a byte of the code lies, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }

    /// The code without what is compiled for tests only.
    pub(super) fn without_tests(&self) -> String {
        let mut code = self.code.clone();
        while let Some(start) = code.find("#[cfg(test)]") {
            let end = item_end(&code, start + "#[cfg(test)]".len());
            code.replace_range(start..end, &blank(&code[start..end]));
        }
        code
    }
}

/// All Rust files below `folder`, sorted by path; without what is built, hidden, or made by programs.
pub(super) fn sources(root: &Path, folder: &str) -> Vec<Source> {
    let mut folders: Vec<PathBuf> = vec![root.join(folder)];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a readable folder").map(|e| e.expect("an entry").path()) {
            let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if entry.is_dir() && !name.starts_with('.') && name != "target" {
                folders.push(entry);
            } else if name.ends_with(".rs") {
                let text = std::fs::read_to_string(&entry).expect("a readable file");
                if text.starts_with("// This file is @generated") {
                    continue;
                }
                let path = entry.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
                sources.push(Source { path, code: code(&text), text });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

/// Spaces instead of all but line ends.
fn blank(text: &str) -> String {
    text.bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }).collect()
}

/// Where the first token of `rest` that is no code ends, if `rest` begins with one: a comment or a literal.
fn opaque(rest: &str) -> Option<usize> {
    let upto = |end: &str, from: usize| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        let (mut depth, mut at) = (0, 0);
        while at < rest.len() {
            match &rest.as_bytes()[at..] {
                [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
                [b'*', b'/', ..] if depth == 1 => return Some(at + 2),
                [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
                _ => at += 1,
            }
        }
        return Some(at);
    }
    let plain = rest.strip_prefix('b').unwrap_or(rest);
    let prefix = rest.len() - plain.len();
    if let Some(raw) = plain.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            return Some(upto(&format!("\"{}", "#".repeat(hashes)), prefix + 1 + hashes + 1));
        }
    }
    let quote = plain.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut chars = plain.char_indices().skip(1);
    let mut count = 0;
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            _ if c == quote => return Some(prefix + at + 1),
            // A lifetime: one character and no quote behind it.
            _ if quote == '\'' && count == 1 && !plain[1..].starts_with('\\') => return None,
            _ => {}
        }
        count += 1;
    }
    Some(rest.len())
}

/// A text of which only code is left.
pub(super) fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut before = ' ';
    while let Some(c) = text[code.len()..].chars().next() {
        let rest = &text[code.len()..];
        let in_word = before.is_alphanumeric() || before == '_';
        match opaque(rest).filter(|_| !in_word || !c.is_alphabetic()) {
            Some(len) => code.push_str(&blank(&rest[..len])),
            // Other characters than ASCII occur in literals and comments alone, and in names in no file of ours.
            None => code.push_str(if c.is_ascii() { &rest[..1] } else { panic!("{c} in code") }),
        }
        before = if code.ends_with(' ') { ' ' } else { c };
    }
    code
}

/// Behind the item that begins at `from`: its semicolon, or its closing brace.
fn item_end(code: &str, from: usize) -> usize {
    body(code, from).map_or_else(|end| end, |body| body.end)
}

/// The braces of the item that begins at `from`; where it ends if it has none.
pub(super) fn body(code: &str, from: usize) -> Result<std::ops::Range<usize>, usize> {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b';' if depth == 0 => return Err(at + 1),
            b'{' if depth == 0 => return Ok(at..closing(code, at)),
            _ => {}
        }
    }
    Err(code.len())
}

/// Behind the bracket that closes the one at `from`.
pub(super) fn closing(code: &str, from: usize) -> usize {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

/// Where `word` stands in the code, not as a part of another word.
pub(super) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = code[..at].chars().next_back();
        let behind = code[at + word.len()..].chars().next();
        let goes_on = is_word(word.chars().next_back()) && is_word(behind);
        !(is_word(before) || goes_on)
    })
}
