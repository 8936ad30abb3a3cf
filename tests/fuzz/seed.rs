//! `seed ENGINE_CORPUS FOLDER`: what the engine's corpus makes of commands, records and snapshots, as inputs of `command_codec`.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let [corpus, folder] =
        std::env::args_os().skip(1).map(PathBuf::from).collect::<Vec<_>>().try_into().expect("two folders");
    for entry in std::fs::read_dir(corpus)? {
        let entry = entry?;
        for (n, seed) in keel_fuzz::codec_seeds(&std::fs::read(entry.path())?).into_iter().enumerate() {
            std::fs::write(folder.join(format!("{}-{n}", entry.file_name().display())), seed)?;
        }
    }
    Ok(())
}
