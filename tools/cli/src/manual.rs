//! How tools read their command lines, and what they say of themselves besides their help, alike for all: completions for shells
//! (`--completions SHELL`) and a manual page (`--man`), both made of the flags that a tool has.

use clap::{Arg, ArgAction, ArgMatches, Command, Error, Parser, value_parser};
use clap_complete::Shell;
use clap_mangen::Man;
use std::ffi::OsString;

const COMPLETIONS: &str = "completions";
const MAN: &str = "man";
/// Among the usual flags, whatever heading a tool has for its last ones.
const NONE: Option<&str> = None;

/// What a command line asks for.
pub(crate) enum Asked<A> {
    /// To run the tool.
    Run(A),
    /// To print this.
    Text(Vec<u8>),
}

/// Reads a command line, of which the first argument is the program.
pub(crate) fn read<A: Parser>(arguments: impl IntoIterator<Item = OsString>) -> Result<Asked<A>, Error> {
    let mut command = with_flags(A::command());
    let matches = command.try_get_matches_from_mut(arguments)?;
    match text(&command, &matches)? {
        Some(text) => Ok(Asked::Text(text)),
        None => A::from_arg_matches(&matches).map(Asked::Run).map_err(|e| e.format(&mut command)),
    }
}

/// The command with both flags; its own commands have manual pages, too. Each flag stands alone: nothing else is asked for then.
fn with_flags(command: Command) -> Command {
    let completions = Arg::new(COMPLETIONS).long(COMPLETIONS).value_name("SHELL").value_parser(value_parser!(Shell));
    let completions = completions.help("Print completions for a shell").exclusive(true).help_heading(NONE);
    with_man(command).arg(completions)
}

fn with_man(command: Command) -> Command {
    let man = Arg::new(MAN).long(MAN).action(ArgAction::SetTrue).exclusive(true).help("Print the manual page").help_heading(NONE);
    command.arg(man).mut_subcommands(with_man)
}

/// What is to be printed instead of running the tool, if a flag asks for it.
fn text(command: &Command, matches: &ArgMatches) -> Result<Option<Vec<u8>>, Error> {
    let mut text = Vec::new();
    if let Some(shell) = matches.get_one::<Shell>(COMPLETIONS) {
        let name = command.get_name().to_owned();
        clap_complete::generate(*shell, &mut command.clone(), name, &mut text);
        return Ok(Some(text));
    }
    let mut command = command.clone();
    command.build();
    let (mut command, mut matches) = (&command, matches);
    while let Some((name, inner)) = matches.subcommand() {
        let Some(found) = command.find_subcommand(name) else { return Ok(None) };
        (command, matches) = (found, inner);
    }
    if !matches.try_get_one::<bool>(MAN).is_ok_and(|asked| asked == Some(&true)) {
        return Ok(None);
    }
    Man::new(command.clone()).render(&mut text)?;
    Ok(Some(text))
}
