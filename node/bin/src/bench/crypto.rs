use super::{Random, median};
use anyhow::Result;
use keel_ingress::verify::{Verifier, public_key, sign};
use keel_types::{Felt, MessageHash};
use std::time::Instant;

/// Messages checked per run.
const SIGNATURES: u64 = 400;

/// Measures the one signature check on one core.
pub fn run() -> Result<()> {
    let (mut random, secret) = (Random::new(3), Felt::from(0x5eed_u64));
    let (key, verifier) = (public_key(&secret)?, Verifier::new());
    let signed: Vec<_> = (0..SIGNATURES)
        .map(|_| {
            let hash = MessageHash(Felt::from(random.next()));
            sign(&secret, &hash).map(|signature| (hash, signature))
        })
        .collect::<Result<_, _>>()?;
    let mut rates = vec![];
    for _ in 0..5 {
        let start = Instant::now();
        for (hash, signature) in &signed {
            anyhow::ensure!(verifier.verify(&key, hash, signature).is_ok(), "a good signature was refused");
        }
        rates.push(SIGNATURES as f64 / start.elapsed().as_secs_f64());
    }
    println!("signatures: {:.0} checks/s on one core (median of 5 runs of {SIGNATURES})", median(rates));
    Ok(())
}
