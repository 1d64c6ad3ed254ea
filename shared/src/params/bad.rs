//! A value that does not fit, and the one line that says so.
//!
//! Owns the texts, so that the guest and the VMM print the same bytes. Source: the parameter reference in
//! the user documentation; the Linux texts are those of the functions that parse the same name there.

use super::number::SizeText;
use super::spec::{OnBad, ParamSpec, Problem};
use super::value::Substitute;
use core::fmt;

/// A bad value. Its [`fmt::Display`] is the whole line, without a line end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadValue<'a> {
    /// The parameter.
    pub spec: &'static ParamSpec,
    /// The value as given; empty for a bare name.
    pub raw: &'a str,
    /// What is wrong.
    pub problem: Problem,
    /// The value to go on with; `None` means the default.
    pub used: Option<Substitute<'a>>,
}

impl BadValue<'_> {
    /// Whether the run must end with status 2 even when parameters are lenient.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.spec.on_bad == OnBad::Refuse
    }

    /// Writes the line for a parameter of the generic form.
    fn write_generic(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { spec, raw, .. } = self;
        let errno = if spec.on_bad == OnBad::Einval { "EINVAL, " } else { "" };
        write!(f, "mm: {}: bad value \"{raw}\" ({errno}{}), ", spec.name, spec.kind)?;
        match self.used {
            _ if self.is_refused() => f.write_str("entry refused"),
            Some(Substitute::Size(size) | Substitute::SizeAt { size, .. }) => {
                write!(f, "using {}", SizeText(size))
            }
            Some(Substitute::Int(value)) => write!(f, "using {value}"),
            _ => write!(f, "using {}", spec.default.text()),
        }
    }

    /// Writes a text of its own: `{v}` is the value, `{c}` the letter that is not known.
    fn write_template(&self, f: &mut fmt::Formatter<'_>, template: &str) -> fmt::Result {
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            f.write_str(before)?;
            match (after.strip_prefix("v}"), after.strip_prefix("c}"), self.problem) {
                (Some(tail), _, _) => {
                    f.write_str(self.raw)?;
                    rest = tail;
                }
                (_, Some(tail), Problem::UnknownFlag(letter)) => {
                    write!(f, "{letter}")?;
                    rest = tail;
                }
                _ => {
                    f.write_str("{")?;
                    rest = after;
                }
            }
        }
        f.write_str(rest)
    }
}

impl fmt::Display for BadValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.spec.on_bad {
            OnBad::Text(template) => self.write_template(f, template),
            OnBad::TextFor(problem, template)
                if core::mem::discriminant(&problem) == core::mem::discriminant(&self.problem) =>
            {
                self.write_template(f, template)
            }
            _ => self.write_generic(f),
        }
    }
}
