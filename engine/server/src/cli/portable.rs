//! `rivet-engine actors export` and `import`: one actor as a file. Neither holds it in memory as a whole.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use protocol::database::PAGE_BYTES;
use reqwest::{Method, Response};
use serde_json::json;

use crate::cli::deploy::upload;
use crate::cli::{Outcome, TargetArgs, print};
use crate::portable::Decoder;

/// Of a file, read at one time.
const PIECE_BYTES: usize = 1024 * 1024;
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

#[derive(Args)]
pub struct ExportArgs {
    /// The actor's id
    #[arg(value_name = "ACTOR")]
    actor: String,

    /// The file to write; it must not be there yet
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Its database too, as a file of SQLite; it must not be there yet
    #[arg(long, value_name = "FILE")]
    sqlite: Option<PathBuf>,

    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Args)]
pub struct ImportArgs {
    /// A file that was exported
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Another name than it had
    #[arg(long)]
    name: Option<String>,

    /// Another key than it had
    #[arg(long)]
    key: Option<String>,

    #[command(flatten)]
    target: TargetArgs,
}

pub async fn export(args: ExportArgs) -> Outcome {
    let client = args.target.client()?;
    let response = client.send(client.request(Method::GET, &["actors", &args.actor, "export"], &[])).await?;
    let received = receive(response, &args).await;
    print::progress("");
    let bytes = received?;
    match args.target.json {
        true => print::line(&json!({ "file": args.file, "bytes": bytes }).to_string()),
        false => print::line(&format!("actor {} is exported to {} ({})", args.actor, args.file.display(), print::size(bytes))),
    }
    Ok(())
}

/// How many bytes it has. What is not whole is removed.
async fn receive(mut response: Response, args: &ExportArgs) -> Result<u64, String> {
    let broke = |error: reqwest::Error| format!("the connection broke before the file was whole: {error}");
    let no_export = |error: String| format!("what the engine sent is no exported actor: {error}");
    let file = New::create(&args.file)?;
    let database = args.sqlite.as_deref().map(New::create).transpose()?;
    let (mut decoder, mut bytes, mut told) = (Decoder::default(), 0, Instant::now());
    while let Some(chunk) = response.chunk().await.map_err(broke)? {
        decoder.feed(&chunk).map_err(no_export)?;
        file.put(|mut file| file.write_all(&chunk))?;
        for (number, page) in decoder.take().pages {
            if let Some(database) = &database {
                database.put(|file| file.write_all_at(&page, (u64::from(number) - 1) * PAGE_BYTES as u64))?;
            }
        }
        bytes += chunk.len() as u64;
        if told.elapsed() >= PROGRESS_EVERY {
            told = Instant::now();
            print::progress(&format!("receiving, {}", print::size(bytes)));
        }
    }
    let pages = decoder.database_pages();
    // It says itself whether it is whole.
    decoder.finish([0; 16]).map_err(no_export)?;
    file.keep()?;
    if let Some(database) = database {
        let none = || format!("actor {} has no database; {} is written", args.actor, args.file.display());
        let bytes = u64::from(pages.ok_or_else(none)?) * PAGE_BYTES as u64;
        // Pages that were never written are zeros.
        database.put(|file| file.set_len(bytes))?;
        database.keep()?;
    }
    Ok(bytes)
}

/// A file that is removed unless it is kept.
struct New {
    file: File,
    path: PathBuf,
    kept: bool,
}

impl New {
    /// Never over something else.
    fn create(path: &Path) -> Result<New, String> {
        let file = File::create_new(path).map_err(|error| cannot_write(path, &error))?;
        Ok(New { file, path: path.to_owned(), kept: false })
    }

    fn put(&self, put: impl FnOnce(&File) -> io::Result<()>) -> Outcome {
        put(&self.file).map_err(|error| cannot_write(&self.path, &error))
    }

    /// On the disk.
    fn keep(mut self) -> Outcome {
        self.put(File::sync_all)?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for New {
    fn drop(&mut self) {
        if !self.kept {
            // What is left of it says by itself that it is not whole.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be written: {error}", path.display())
}

pub async fn import(args: ImportArgs) -> Outcome {
    let client = args.target.client()?;
    let bytes = look(&args.file)?;
    let cannot_read = |error: io::Error| format!("{} cannot be read: {error}", args.file.display());
    let file = tokio::fs::File::open(&args.file).await.map_err(cannot_read)?;
    let named = [("name", &args.name), ("key", &args.key)];
    let query: Vec<(&str, &str)> = named.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
    let request = client.request(Method::POST, &["actors", "import"], &query).body(upload(file, bytes));
    let answer = client.json(request).await;
    print::progress("");
    let answer = answer?;
    let text = |name: &str| answer["actor"][name].as_str().unwrap_or_default();
    match args.target.json {
        true => print::line(&answer.to_string()),
        false => print::line(&format!("actor {} is there: {} {}, asleep", text("actor_id"), text("name"), text("key"))),
    }
    Ok(())
}

/// How many bytes it has, if it is whole: nobody should send gigabytes to learn that they are not.
fn look(path: &Path) -> Result<u64, String> {
    let cannot_read = |error: io::Error| format!("{} cannot be read: {error}", path.display());
    let wrong = |error: String| format!("{} is no exported actor: {error}", path.display());
    let mut file = File::open(path).map_err(cannot_read)?;
    let of = file.metadata().map_err(cannot_read)?.len();
    let (mut decoder, mut bytes, mut piece, mut told) = (Decoder::default(), 0, vec![0; PIECE_BYTES], Instant::now());
    loop {
        let read = file.read(&mut piece).map_err(cannot_read)?;
        if read == 0 {
            decoder.finish([0; 16]).map_err(wrong)?;
            return Ok(bytes);
        }
        decoder.feed(&piece[..read]).map_err(wrong)?;
        decoder.take();
        bytes += read as u64;
        if told.elapsed() >= PROGRESS_EVERY {
            told = Instant::now();
            print::progress(&format!("comparing, {} of {}", print::size(bytes), print::size(of)));
        }
    }
}
