//! HS256 JSON Web Tokens for the admin port, as the Ethereum Engine API uses them: a 256-bit shared secret in a file, a token
//! with a fresh `iat` in every request. It authenticates; it neither hides the request nor stops a replay inside its minute, so
//! the admin port stays on loopback or behind TLS.
use crate::limits::{JWT_IAT_SKEW_MAX, OPERATORS_MAX};
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use std::path::Path;

/// Bytes of the secret.
pub const SECRET_BYTES: usize = 32;
/// Longest token that is looked at; ours are under 200 bytes, a word with the longest reason under 900.
const TOKEN_BYTES_MAX: usize = 1_024;

/// A secret of the admin port. Not `Debug`, so that it cannot end in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct JwtSecret([u8; SECRET_BYTES]);

/// Why a secret cannot be used; the admin server then refuses to start.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("read the admin secret {path}: {source}")]
    Unreadable { path: String, source: std::io::Error },
    #[error("the admin secret must be 64 hex digits (256 bits), optionally after 0x; it has {digits} characters")]
    WrongLength { digits: usize },
    #[error("the admin secret is not hexadecimal")]
    NotHex,
    #[error("the admin secret is all zero")]
    Zero,
    #[error("operators {0} and {1} have the same admin secret: they would count as two and be one")]
    Shared(usize, usize),
    #[error("{0} operators' admin secrets: at least 1, at most {OPERATORS_MAX}")]
    OperatorCount(usize),
}

/// The operators' secrets, all different. Who signed with one is known by its place, from 0: the index of an operator in the journal.
#[derive(Clone)]
pub struct OperatorSecrets(Vec<JwtSecret>);

impl OperatorSecrets {
    /// In the order of their indices.
    ///
    /// # Errors
    /// None, too many, or one twice.
    pub fn new(secrets: Vec<JwtSecret>) -> Result<OperatorSecrets, SecretError> {
        if !(1..=OPERATORS_MAX).contains(&secrets.len()) {
            return Err(SecretError::OperatorCount(secrets.len()));
        }
        for (i, secret) in secrets.iter().enumerate() {
            if let Some(first) = secrets[..i].iter().position(|other| other == secret) {
                return Err(SecretError::Shared(first, i));
            }
        }
        Ok(OperatorSecrets(secrets))
    }

    /// Whose token this is.
    ///
    /// # Errors
    /// See [JwtSecret::verify]; [TokenError::Signature] where it is nobody's.
    pub fn verify(&self, token: &str, unix_seconds: u64) -> Result<u8, TokenError> {
        self.find(|secret| secret.verify(token, unix_seconds)).map(|(index, ())| index)
    }

    /// Whose word this is, and what it claims. See [JwtSecret::sign_word].
    ///
    /// # Errors
    /// See [JwtSecret::open_word]; [TokenError::Signature] where it is nobody's.
    pub fn open_word(&self, word: &str, unix_seconds: u64) -> Result<(u8, Value), TokenError> {
        self.find(|secret| secret.open_word(word, unix_seconds))
    }

    fn find<T>(&self, open: impl Fn(&JwtSecret) -> Result<T, TokenError>) -> Result<(u8, T), TokenError> {
        for (index, secret) in (0..).zip(&self.0) {
            match open(secret) {
                Err(TokenError::Signature) => {}
                opened => return opened.map(|opened| (index, opened)),
            }
        }
        Err(TokenError::Signature)
    }
}

/// Why a token was refused. Closed; the text is the body of the 401.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenError {
    #[error("missing `Authorization: Bearer` header")]
    Missing,
    #[error("token is not three base64url parts of JSON")]
    Malformed,
    #[error("token algorithm is not HS256")]
    Algorithm,
    #[error("token signature does not match")]
    Signature,
    #[error("token has no integer `iat`")]
    NoIssueTime,
    #[error("token `iat` is more than 60 s from this node's clock")]
    Stale,
    #[error("token `exp` has passed")]
    Expired,
    #[error("token has no integer `exp`, or an `iat`")]
    NotAWord,
}

impl JwtSecret {
    /// Reads 64 hex digits from a file.
    pub fn from_file(path: &Path) -> Result<JwtSecret, SecretError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SecretError::Unreadable { path: path.display().to_string(), source })?;
        JwtSecret::from_hex(text.trim())
    }

    /// From 64 hex digits, with or without `0x`.
    pub fn from_hex(text: &str) -> Result<JwtSecret, SecretError> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        if digits.len() != SECRET_BYTES * 2 {
            return Err(SecretError::WrongLength { digits: digits.len() });
        }
        let mut secret = [0u8; SECRET_BYTES];
        hex::decode_to_slice(digits, &mut secret).map_err(|_| SecretError::NotHex)?;
        if secret == [0u8; SECRET_BYTES] {
            return Err(SecretError::Zero);
        }
        Ok(JwtSecret(secret))
    }

    /// A token issued at `unix_seconds`, for the command line's own calls.
    pub fn sign(&self, unix_seconds: u64) -> String {
        self.sign_claims(&json!({ "iat": unix_seconds }))
    }

    /// An operator's word on one thing, for others to pass on: `claims` (an object), good until `expires`, unix seconds. It has no `iat`,
    /// so that it opens no port.
    pub fn sign_word(&self, mut claims: Value, expires: u64) -> String {
        claims["exp"] = json!(expires);
        self.sign_claims(&claims)
    }

    fn sign_claims(&self, claims: &Value) -> String {
        let header = encode_base64url(br#"{"alg":"HS256","typ":"JWT"}"#);
        let claims = encode_base64url(claims.to_string().as_bytes());
        let signed = format!("{header}.{claims}");
        let signature = encode_base64url(&self.mac(signed.as_bytes()).finalize().into_bytes());
        format!("{signed}.{signature}")
    }

    /// Checks a token against our clock.
    pub fn verify(&self, token: &str, unix_seconds: u64) -> Result<(), TokenError> {
        let claims = self.open(token)?;
        let issued = claims.get("iat").and_then(Value::as_u64).ok_or(TokenError::NoIssueTime)?;
        if issued.abs_diff(unix_seconds) > JWT_IAT_SKEW_MAX.as_secs() {
            return Err(TokenError::Stale);
        }
        match claims.get("exp") {
            None => Ok(()),
            Some(exp) if exp.as_u64().is_some_and(|exp| exp > unix_seconds) => Ok(()),
            Some(_) => Err(TokenError::Expired),
        }
    }

    /// The claims of a word that is still good. An admin token is no word.
    ///
    /// # Errors
    /// It is not signed with this secret, has expired, or is no word.
    pub fn open_word(&self, word: &str, unix_seconds: u64) -> Result<Value, TokenError> {
        let claims = self.open(word)?;
        match claims.get("exp").and_then(Value::as_u64) {
            None => Err(TokenError::NotAWord),
            Some(_) if claims.get("iat").is_some() => Err(TokenError::NotAWord),
            Some(expires) if expires <= unix_seconds => Err(TokenError::Expired),
            Some(_) => Ok(claims),
        }
    }

    /// The claims, signed with this secret. The algorithm is fixed before the signature is looked at, so `none` and the asymmetric
    /// names never choose how we verify; the comparison takes the same time wherever the bytes differ.
    fn open(&self, token: &str) -> Result<Value, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Malformed);
        };
        if decode_json(header)?.get("alg").and_then(Value::as_str) != Some("HS256") {
            return Err(TokenError::Algorithm);
        }
        let signature = decode_base64url(signature).ok_or(TokenError::Malformed)?;
        let signed = &token[..header.len() + 1 + claims.len()];
        self.mac(signed.as_bytes()).verify_slice(&signature).map_err(|_| TokenError::Signature)?;

        decode_json(claims)
    }

    fn mac(&self, message: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(message);
        mac
    }
}

fn decode_json(part: &str) -> Result<Value, TokenError> {
    let bytes = decode_base64url(part).ok_or(TokenError::Malformed)?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|_| TokenError::Malformed)?;
    value.is_object().then_some(value).ok_or(TokenError::Malformed)
}

const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// RFC 4648 section 5, without padding.
pub(crate) fn encode_base64url(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |acc, byte| acc << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for i in 0..=chunk.len() {
            text.push(char::from(BASE64URL[(group >> (18 - 6 * i) & 0x3f) as usize]));
        }
    }
    text
}

/// The inverse; `None` on any other character, padding, or bits left over that are not zero.
fn decode_base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut group, mut bits) = (0u32, 0u32);
    for c in text.bytes() {
        let digit = BASE64URL.iter().position(|b| *b == c)? as u32;
        group = group << 6 | digit;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((group >> bits) as u8);
            group &= (1 << bits) - 1;
        }
    }
    (bits < 6 && group == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use keel_types::Bytes32;

    const SECRET: &str = "0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const NOW: u64 = 1_760_000_000;

    fn secret() -> JwtSecret {
        JwtSecret::from_hex(SECRET).unwrap()
    }

    fn token(header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encode_base64url(header.as_bytes()), encode_base64url(claims.as_bytes()));
        format!("{signed}.{}", encode_base64url(&secret().mac(signed.as_bytes()).finalize().into_bytes()))
    }

    #[test]
    fn our_own_token_is_accepted_for_a_minute_either_way() {
        for (at, expected) in [
            (NOW, Ok(())),
            (NOW + 60, Ok(())),
            (NOW - 60, Ok(())),
            (NOW + 61, Err(TokenError::Stale)),
            (NOW - 61, Err(TokenError::Stale)),
        ] {
            assert_eq!(secret().verify(&secret().sign(NOW), at), expected, "{at}");
        }
    }

    #[test]
    fn a_token_made_elsewhere_with_the_same_secret_is_accepted() {
        // Made with Python: hmac.new(bytes(range(32)), header.claims, sha256), base64.urlsafe_b64encode.
        let token =
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpYXQiOjE3NjAwMDAwMDB9.pgi-WbVNNHX3laY2pScnt5xB3KZcEOq1Msw9rwB3p6o";
        assert_eq!(secret().verify(token, NOW), Ok(()));
        assert_eq!(secret().sign(NOW), token);
    }

    #[test]
    fn forged_and_odd_tokens_are_refused_each_for_its_reason() {
        let good = r#"{"alg":"HS256"}"#;
        let iat = format!(r#"{{"iat":{NOW}}}"#);
        let unsigned = format!("{}.{}.", encode_base64url(br#"{"alg":"none"}"#), encode_base64url(iat.as_bytes()));
        let mut altered = secret().sign(NOW).into_bytes();
        let last = altered.len() - 2;
        altered[last] = if altered[last] == b'A' { b'B' } else { b'A' };
        let other = JwtSecret::from_hex(&"11".repeat(32)).unwrap();
        for (name, token, expected) in [
            ("alg none", unsigned, TokenError::Algorithm),
            ("alg none, signed", token(r#"{"alg":"none"}"#, &iat), TokenError::Algorithm),
            ("alg RS256", token(r#"{"alg":"RS256"}"#, &iat), TokenError::Algorithm),
            ("no alg", token("{}", &iat), TokenError::Algorithm),
            ("altered signature", String::from_utf8(altered).unwrap(), TokenError::Signature),
            ("other secret", other.sign(NOW), TokenError::Signature),
            (
                "empty signature",
                format!("{}.{}.", encode_base64url(good.as_bytes()), encode_base64url(iat.as_bytes())),
                TokenError::Signature,
            ),
            ("no iat", token(good, "{}"), TokenError::NoIssueTime),
            ("iat as text", token(good, r#"{"iat":"1760000000"}"#), TokenError::NoIssueTime),
            ("expired", token(good, &format!(r#"{{"iat":{NOW},"exp":{NOW}}}"#)), TokenError::Expired),
            ("two parts", "e30.e30".into(), TokenError::Malformed),
            ("four parts", format!("{}.e30", secret().sign(NOW)), TokenError::Malformed),
            ("not base64", "e30!.e30.e30".into(), TokenError::Malformed),
            ("claims not an object", token(good, "[1]"), TokenError::Malformed),
            ("too long", "a".repeat(5_000), TokenError::Malformed),
        ] {
            assert_eq!(secret().verify(&token, NOW), Err(expected), "{name}");
        }
    }

    #[test]
    fn operators_are_told_apart_by_their_secrets_and_one_secret_is_one_operator() {
        let secrets =
            |digits: &[&str]| digits.iter().map(|d| JwtSecret::from_hex(&d.repeat(32)).unwrap()).collect::<Vec<_>>();
        let [first, second, stranger] = secrets(&["11", "22", "33"]).try_into().ok().unwrap();
        let operators = OperatorSecrets::new(vec![first.clone(), second.clone()]).unwrap();
        assert_eq!(operators.verify(&first.sign(NOW), NOW), Ok(0));
        assert_eq!(operators.verify(&second.sign(NOW), NOW), Ok(1));
        assert_eq!(operators.verify(&stranger.sign(NOW), NOW), Err(TokenError::Signature));
        assert_eq!(operators.verify(&second.sign(NOW - 120), NOW), Err(TokenError::Stale));
        let refused = |secrets| OperatorSecrets::new(secrets).err().unwrap();
        assert!(matches!(refused(vec![first.clone(), second, first]), SecretError::Shared(0, 2)));
        assert!(matches!(refused(vec![]), SecretError::OperatorCount(0)));
        assert!(matches!(refused(vec![stranger; OPERATORS_MAX + 1]), SecretError::OperatorCount(17)));
    }

    #[test]
    fn a_word_says_what_was_signed_until_it_expires_and_opens_no_port() {
        let other = JwtSecret::from_hex(&"11".repeat(32)).unwrap();
        let operators = OperatorSecrets::new(vec![other, secret()]).unwrap();
        let word = secret().sign_word(json!({"void": "this"}), NOW + 3_600);
        let claims = json!({"void": "this", "exp": NOW + 3_600});
        assert_eq!(operators.open_word(&word, NOW + 3_599), Ok((1, claims)));
        assert_eq!(operators.open_word(&word, NOW + 3_600), Err(TokenError::Expired));
        assert_eq!(operators.verify(&word, NOW), Err(TokenError::NoIssueTime));
        for claims in [format!(r#"{{"iat":{NOW}}}"#), format!(r#"{{"iat":{NOW},"exp":{}}}"#, NOW + 9)] {
            assert_eq!(
                operators.open_word(&token(r#"{"alg":"HS256"}"#, &claims), NOW),
                Err(TokenError::NotAWord),
                "{claims}"
            );
        }
        let stranger = JwtSecret::from_hex(&"33".repeat(32)).unwrap().sign_word(json!({}), NOW + 9);
        assert_eq!(operators.open_word(&stranger, NOW), Err(TokenError::Signature));
        let longest = json!({"void": {"seq": u64::MAX.to_string(), "record": Bytes32::default().to_string(), "reason": "\"".repeat(200)}});
        assert!(operators.open_word(&secret().sign_word(longest, NOW + 9), NOW).is_ok());
    }

    #[test]
    fn a_short_odd_or_unreadable_secret_is_refused() {
        assert!(matches!(JwtSecret::from_hex("abcd"), Err(SecretError::WrongLength { digits: 4 })));
        assert!(matches!(JwtSecret::from_hex(&"0".repeat(64)), Err(SecretError::Zero)));
        assert!(matches!(JwtSecret::from_hex(&"g".repeat(64)), Err(SecretError::NotHex)));
        assert!(matches!(JwtSecret::from_file(Path::new("/nonexistent/secret")), Err(SecretError::Unreadable { .. })));
    }
}
