//! Tasks of the workspace itself: `cargo xtask tidy` checks the rules that a program can check.

mod floors;
mod messages;
mod sources;
mod texts;
mod tree;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("tidy"), None) => tidy(&root()),
        _ => {
            eprintln!("usage: cargo xtask tidy");
            ExitCode::from(2)
        }
    }
}

/// The workspace's directory: the parent of this crate's.
fn root() -> std::path::PathBuf {
    // Asked for when it runs: checkouts that share a build directory may share this program.
    let here = std::path::PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| "xtask".into()));
    here.parent().unwrap_or(&here).into()
}

/// Everything that breaks a rule, a line each.
fn complaints(root: &Path) -> Result<Vec<String>, String> {
    let tree = tree::Tree::read(root)?;
    let mut found = floors::check(&tree);
    found.extend(sources::check(&tree));
    found.extend(texts::check(&tree));
    found.extend(messages::check(&tree));
    Ok(found)
}

fn tidy(root: &Path) -> ExitCode {
    match complaints(root) {
        Ok(found) if found.is_empty() => {
            println!("tidy: every rule holds");
            ExitCode::SUCCESS
        }
        Ok(found) => {
            for complaint in &found {
                println!("{complaint}");
            }
            println!("tidy: {} complaints", found.len());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("tidy: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_workspace_is_tidy() {
        let found = super::complaints(&super::root()).unwrap();
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}
