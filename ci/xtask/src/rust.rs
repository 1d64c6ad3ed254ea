//! What the checks need to know about a Rust file, read from its tokens.
//!
//! Owns: recognising paths, functions, `unsafe`, module declarations, tests and markers.
//! Stays outside: which of them are allowed (`layers`, `rows`).
//! Invariants: comments and strings are never mistaken for code; the bodies of macro calls are read like
//! any other code. Names are not resolved: a path counts by its text, from `crate`, `self` or `super`.
//! Source: The Rust Reference, "Paths" and "Use declarations".

use proc_macro2::{Delimiter, Group, Spacing, TokenStream, TokenTree};

/// A path that starts at `crate`, `self` or `super`, as module names from the crate root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathUse {
    /// Line it starts on, from 1.
    pub line: usize,
    /// Its segments; empty for the crate root itself.
    pub segments: Vec<String>,
}

/// A function with a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Line of `fn`, from 1.
    pub line: usize,
    /// Its name.
    pub name: String,
    /// Lines from `fn` to the closing brace.
    pub length: usize,
}

/// Something that must not land.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// Line it stands on, from 1.
    pub line: usize,
    /// What it is.
    pub what: &'static str,
}

/// The facts. Test-only items add to `markers` and `tests` only.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Paths to other modules of the crate.
    pub paths: Vec<PathUse>,
    /// Functions.
    pub functions: Vec<Function>,
    /// Lines with the word `unsafe`, once for each.
    pub unsafes: Vec<usize>,
    /// Modules declared with `mod name;` and the line.
    pub modules: Vec<(String, usize)>,
    /// Markers in code.
    pub markers: Vec<Marker>,
    /// Names of the functions with `#[test]`.
    pub tests: Vec<String>,
}

/// Reads `text`, the file of the module `module` (names from the crate root, empty for the root).
/// An error is a line and what the lexer says.
pub fn read(text: &str, module: &[&str]) -> Result<Facts, (usize, String)> {
    let tokens: TokenStream =
        text.parse().map_err(|e: proc_macro2::LexError| (e.span().start().line, e.to_string()))?;
    let module = module.iter().map(|&name| name.to_owned()).collect();
    let mut reader = Reader { facts: Facts::default(), module, in_test: false };
    reader.walk(tokens);
    Ok(reader.facts)
}

struct Reader {
    facts: Facts,
    /// Where the walk is, inline modules included.
    module: Vec<String>,
    /// Inside an item that only tests see.
    in_test: bool,
}

impl Reader {
    fn walk(&mut self, stream: TokenStream) {
        let tokens: Vec<TokenTree> = stream.into_iter().collect();
        let outer = self.in_test;
        // `#[test]` was seen and its function not yet.
        let mut awaits_test = false;
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            let rest = tokens.get(at..).unwrap_or(&[]);
            at += match token {
                TokenTree::Punct(punct) if punct.as_char() == '#' => match attribute(rest) {
                    Some((group, used)) => {
                        let is_test = self.attribute(group);
                        awaits_test |= is_test;
                        self.in_test |= is_test || is_test_cfg(group);
                        used
                    }
                    None => 1,
                },
                TokenTree::Ident(_) => self.word(rest, &mut awaits_test),
                TokenTree::Group(group) => {
                    self.walk(group.stream());
                    1
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => 1,
            };
            // The end of an item is the end of what its attributes say.
            if tokens.get(at - 1).is_some_and(ends_item) {
                self.in_test = outer;
            }
        }
        self.in_test = outer;
    }

    /// Handles what starts with a word; returns how many tokens it took.
    fn word(&mut self, tokens: &[TokenTree], awaits_test: &mut bool) -> usize {
        let Some(first) = word_at(tokens, 0) else { return 1 };
        let line = line_of(tokens);
        match first.as_str() {
            "crate" | "self" | "super" if is_colons(tokens, 1) => return self.path(&first, tokens),
            "mod" => return self.module(tokens),
            "fn" => self.function(tokens, awaits_test),
            "unsafe" if !self.in_test => self.facts.unsafes.push(line),
            "todo" | "unimplemented" if is_punct(tokens, 1, '!') => {
                let what = if first == "todo" { "todo!" } else { "unimplemented!" };
                self.facts.markers.push(Marker { line, what });
            }
            _ => {}
        }
        1
    }

    fn module(&mut self, tokens: &[TokenTree]) -> usize {
        let Some(name) = word_at(tokens, 1) else { return 1 };
        match tokens.get(2) {
            Some(TokenTree::Group(body)) if body.delimiter() == Delimiter::Brace => {
                self.module.push(name);
                self.walk(body.stream());
                self.module.pop();
                3
            }
            Some(TokenTree::Punct(punct)) if punct.as_char() == ';' => {
                if !self.in_test {
                    self.facts.modules.push((name, line_of(tokens)));
                }
                2
            }
            _ => 1,
        }
    }

    fn function(&mut self, tokens: &[TokenTree], awaits_test: &mut bool) {
        // `fn(` is a type.
        let Some(name) = word_at(tokens, 1) else { return };
        if std::mem::take(awaits_test) {
            self.facts.tests.push(name.clone());
        }
        if self.in_test {
            return;
        }
        let line = line_of(tokens);
        if let Some(body) = function_body(tokens) {
            let length = body.span_close().end().line + 1 - line;
            self.facts.functions.push(Function { line, name, length });
        }
    }

    /// Records a path; returns how many tokens it took.
    fn path(&mut self, first: &str, tokens: &[TokenTree]) -> usize {
        let mut base = if first == "crate" { Vec::new() } else { self.module.clone() };
        if first == "super" {
            base.pop();
        }
        // The first word and its `::`.
        let start = 3;
        let mut found = Vec::new();
        let used = start + segments(base, tokens.get(start..).unwrap_or(&[]), line_of(tokens), &mut found);
        if !self.in_test {
            self.facts.paths.append(&mut found);
        }
        used
    }

    /// Records what an attribute says; true for `#[test]`.
    fn attribute(&mut self, group: &Group) -> bool {
        let words = words(group.stream());
        let line = group.span_open().start().line;
        let first = words.first().map(String::as_str).unwrap_or_default();
        let has = |word: &str| words.iter().any(|w| w == word);
        if first == "ignore" || (first == "cfg_attr" && has("ignore")) {
            self.facts.markers.push(Marker { line, what: "#[ignore]" });
        }
        if matches!(first, "allow" | "expect" | "cfg_attr") && has("dead_code") {
            self.facts.markers.push(Marker { line, what: "allow(dead_code)" });
        }
        if first == "unsafe" && !self.in_test {
            self.facts.unsafes.push(line);
        }
        first == "test" && words.len() == 1
    }
}

/// The segments of a use tree or path from its first segment on; one entry in `found` for each leaf.
/// Returns how many tokens they took.
fn segments(mut base: Vec<String>, tokens: &[TokenTree], line: usize, found: &mut Vec<PathUse>) -> usize {
    let mut at = 0;
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(word)) => match word.to_string().as_str() {
                "self" => {}
                "super" => drop(base.pop()),
                name => base.push(name.to_owned()),
            },
            Some(TokenTree::Punct(punct)) if punct.as_char() == '*' => {}
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                for part in inner.split(|token| matches!(token, TokenTree::Punct(p) if p.as_char() == ',')) {
                    if let Some(first) = part.first() {
                        segments(base.clone(), part, first.span().start().line, found);
                    }
                }
                return at + 1;
            }
            _ => break,
        }
        at += 1;
        // `::<` opens type arguments, which are read as code of their own.
        if !is_colons(tokens, at) || is_punct(tokens, at + 2, '<') {
            break;
        }
        at += 2;
    }
    found.push(PathUse { line, segments: base });
    at
}

/// The body of the function that starts at `fn`. A brace that is a type argument, as in `Bits<{ N }>`, is
/// followed by `>` or `,`; a body never is.
fn function_body(tokens: &[TokenTree]) -> Option<&Group> {
    for (at, token) in tokens.iter().enumerate() {
        let is_argument = is_punct(tokens, at + 1, '>') || is_punct(tokens, at + 1, ',');
        match token {
            TokenTree::Punct(punct) if punct.as_char() == ';' => return None,
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace && !is_argument => {
                return Some(group);
            }
            _ => {}
        }
    }
    None
}

/// The bracket group of the attribute at the start of `tokens`, and how many tokens it takes.
fn attribute(tokens: &[TokenTree]) -> Option<(&Group, usize)> {
    let bang = usize::from(is_punct(tokens, 1, '!'));
    match tokens.get(1 + bang) {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Bracket => Some((group, 2 + bang)),
        _ => None,
    }
}

/// Whether the attribute is a `cfg` that only a test build meets.
fn is_test_cfg(attribute: &Group) -> bool {
    let tokens: Vec<TokenTree> = attribute.stream().into_iter().collect();
    match (word_at(&tokens, 0).as_deref(), tokens.get(1)) {
        (Some("cfg"), Some(TokenTree::Group(condition))) => names_test(condition.stream()),
        _ => false,
    }
}

/// Whether `test` stands in the condition outside `not(...)`.
fn names_test(condition: TokenStream) -> bool {
    let mut negated = false;
    condition.into_iter().any(|token| match token {
        TokenTree::Ident(word) => {
            negated = word == "not";
            word == "test"
        }
        TokenTree::Group(group) => !negated && names_test(group.stream()),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

/// All words of a stream, groups included.
fn words(stream: TokenStream) -> Vec<String> {
    let mut found = Vec::new();
    for token in stream {
        match token {
            TokenTree::Ident(word) => found.push(word.to_string()),
            TokenTree::Group(group) => found.extend(words(group.stream())),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
    found
}

fn ends_item(token: &TokenTree) -> bool {
    match token {
        TokenTree::Punct(punct) => punct.as_char() == ';',
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Ident(_) | TokenTree::Literal(_) => false,
    }
}

fn word_at(tokens: &[TokenTree], at: usize) -> Option<String> {
    match tokens.get(at) {
        Some(TokenTree::Ident(word)) => Some(word.to_string()),
        _ => None,
    }
}

fn is_punct(tokens: &[TokenTree], at: usize, what: char) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == what)
}

fn is_colons(tokens: &[TokenTree], at: usize) -> bool {
    let joint = matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.spacing() == Spacing::Joint);
    joint && is_punct(tokens, at, ':') && is_punct(tokens, at + 1, ':')
}

fn line_of(tokens: &[TokenTree]) -> usize {
    tokens.first().map_or(1, |token| token.span().start().line)
}

#[cfg(test)]
mod tests;
