//! `serve`: a page in a browser that shows locks live.

use std::path::PathBuf;

use clap::ValueHint;
use lockbydir::engine::{is_url, shown};
use lockbydir_player::Live;
use lockbydir_player::serve::{self, Options};

use crate::exit::Failure;
use crate::output;

pub(crate) const HELP: &str = "\
Examples:
  lockbydir serve /var/lock/jobs
  lockbydir serve --listen 127.0.0.1:0
  LOCKBYDIR_SERVE_TOKEN=$(openssl rand -hex 16) lockbydir serve --listen 0.0.0.0:7654 --host web1:7654

From another machine, use a tunnel, which encrypts:
  ssh -L 7654:127.0.0.1:7654 web1";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder, or a URL like etcd://host:2379/team [default: the current directory]
    #[arg(env = "LOCKBYDIR_DIR", default_value = ".", hide_default_value = true, hide_env = true, value_hint = ValueHint::DirPath)]
    dir: PathBuf,
    /// Record events as JSON lines into a new file, for `play --replay`
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    record: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) place: Place,
}

/// Where a page is served, and for whom.
#[derive(clap::Args)]
pub(crate) struct Place {
    /// Where to listen; port 0 means any free port. An address that other machines can reach needs --token
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7654")]
    listen: String,
    /// Require this token: open the page once with ?token=TOKEN, or send it as `Authorization: Bearer
    /// TOKEN`: at least 16 letters, digits and -._~. Command lines are visible in `ps`:
    /// prefer the environment
    #[arg(long, value_name = "TOKEN", env = "LOCKBYDIR_SERVE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Another name by which the page is reached, such as web1:7654; may be repeated
    #[arg(long = "host", value_name = "NAME[:PORT]")]
    hosts: Vec<String>,
}

impl Place {
    pub(crate) fn options(&self, title: String) -> Options {
        Options {
            listen: self.listen.clone(),
            token: self.token.clone(),
            hosts: self.hosts.clone(),
            title,
            linger: None,
        }
    }
}

/// Prints the address of the page.
pub(crate) fn print_url(url: &str) {
    // The page does not wait for a reader of this output: it can be opened without one.
    let _ = output::print_while(format!("{url}\n"), || false);
}

pub(crate) fn serve(args: &Args) -> Result<u8, Failure> {
    let source = Live::of(&args.dir)?;
    let folder = match is_url(&args.dir) {
        true => args.dir.clone(),
        false => std::path::absolute(&args.dir).unwrap_or_else(|_| args.dir.clone()),
    };
    let source = crate::play::recorded(Box::new(source), args.record.as_deref())?;
    serve::serve(source, args.place.options(shown(&folder)), print_url)?;
    Ok(0)
}
