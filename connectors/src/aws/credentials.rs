//! Credentials that are asked for once and kept until shortly before they expire.
//!
//! The SDK's clients keep them by themselves; the client of object storage asks before each request, which with a role would be
//! a call of STS each time.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use kinesql_engine::runtime::clock::{Clock, EventTime};
use tokio::sync::Mutex;

/// How long credentials are kept that name no end: as long as by the SDK's own cache (aws-smithy-runtime,
/// `client/identity/cache/lazy.rs`, DEFAULT_EXPIRATION).
const UNLIMITED_KEPT: Duration = Duration::from_secs(15 * 60);

/// They are asked for anew so long before they expire, or after half of their time if that is later.
const RENEWED_BEFORE: Duration = Duration::from_secs(5 * 60);

/// A provider whose answers are kept. Clients that share it share them.
#[derive(Debug)]
pub(super) struct KeptCredentials {
    provider: SharedCredentialsProvider,
    clock: Arc<dyn Clock>,
    kept: Mutex<Option<Kept>>,
}

#[derive(Debug)]
struct Kept {
    credentials: Credentials,
    renew_at: EventTime,
    /// None: they name no end.
    expire_at: Option<EventTime>,
}

impl KeptCredentials {
    /// `clock` is that of the machine: services compare with theirs.
    pub(super) fn new(provider: SharedCredentialsProvider, clock: Arc<dyn Clock>) -> Self {
        Self { provider, clock, kept: Mutex::new(None) }
    }

    async fn credentials(&self) -> provider::Result {
        // Who comes meanwhile waits for the same answer.
        let mut kept = self.kept.lock().await;
        if let Some(kept) = kept.as_ref().filter(|kept| self.clock.now() < kept.renew_at) {
            return Ok(kept.credentials.clone());
        }
        match (self.provider.provide_credentials().await, kept.as_ref()) {
            (Ok(credentials), _) => {
                *kept = Some(Kept::new(credentials.clone(), self.clock.now()));
                Ok(credentials)
            }
            // They may be renewed later.
            (Err(_), Some(kept)) if kept.expire_at.is_none_or(|expire_at| self.clock.now() < expire_at) => {
                Ok(kept.credentials.clone())
            }
            (Err(error), _) => Err(error),
        }
    }
}

impl Kept {
    fn new(credentials: Credentials, now: EventTime) -> Self {
        let since_1970 = credentials.expiry().and_then(|expiry| expiry.duration_since(SystemTime::UNIX_EPOCH).ok());
        let expire_at = since_1970.and_then(|since_1970| EventTime::try_from(since_1970.as_millis()).ok());
        let renew_at = match expire_at {
            Some(expire_at) => (expire_at - RENEWED_BEFORE.as_millis() as i64).max(now + (expire_at - now) / 2),
            None => now + UNLIMITED_KEPT.as_millis() as i64,
        };
        Self { credentials, renew_at, expire_at }
    }
}

impl ProvideCredentials for KeptCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use aws_credential_types::provider::error::CredentialsError;
    use kinesql_engine::runtime::clock::ManualClock;

    use super::*;

    /// A role: what it gives is valid for `valid_ms`, or for ever.
    #[derive(Debug, Default)]
    struct Role {
        clock: Option<Arc<ManualClock>>,
        valid_ms: Option<i64>,
        calls: AtomicUsize,
        down: AtomicBool,
    }

    impl Role {
        fn give(&self) -> provider::Result {
            let call = self.calls.fetch_add(1, Ordering::SeqCst);
            if self.down.load(Ordering::SeqCst) {
                return Err(CredentialsError::provider_error("down"));
            }
            let now = self.clock.as_ref().expect("a clock").now();
            let expiry = self.valid_ms.map(|ms| SystemTime::UNIX_EPOCH + Duration::from_millis((now + ms) as u64));
            Ok(Credentials::new(format!("key{call}"), "secret", None, expiry, "test"))
        }
    }

    impl ProvideCredentials for Role {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::ready(self.give())
        }
    }

    fn kept(valid_ms: Option<i64>) -> (Arc<ManualClock>, Arc<Role>, KeptCredentials) {
        let clock = ManualClock::starting_at(0);
        let role = Arc::new(Role { clock: Some(Arc::clone(&clock)), valid_ms, ..Role::default() });
        #[derive(Debug)]
        struct Shared(Arc<Role>);
        impl ProvideCredentials for Shared {
            fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
            where
                Self: 'a,
            {
                self.0.provide_credentials()
            }
        }
        let provider = SharedCredentialsProvider::new(Shared(Arc::clone(&role)));
        let kept = KeptCredentials::new(provider, Arc::clone(&clock) as Arc<dyn Clock>);
        (clock, role, kept)
    }

    async fn key(kept: &KeptCredentials) -> String {
        kept.provide_credentials().await.expect("credentials").access_key_id().to_owned()
    }

    #[tokio::test]
    async fn a_role_is_assumed_once_and_again_shortly_before_it_expires() {
        let minute = 60_000;
        let (clock, role, kept) = kept(Some(60 * minute));
        for _ in 0..100 {
            assert_eq!(key(&kept).await, "key0");
        }
        clock.set(55 * minute - 1);
        assert_eq!(key(&kept).await, "key0");
        clock.set(55 * minute);
        assert_eq!(key(&kept).await, "key1");
        assert_eq!((key(&kept).await, role.calls.load(Ordering::SeqCst)), ("key1".to_owned(), 2));
    }

    #[tokio::test]
    async fn credentials_of_a_few_minutes_are_kept_for_half_of_them() {
        let (clock, _, kept) = kept(Some(60_000));
        assert_eq!(key(&kept).await, "key0");
        clock.set(29_999);
        assert_eq!(key(&kept).await, "key0");
        clock.set(30_000);
        assert_eq!(key(&kept).await, "key1");
    }

    #[tokio::test]
    async fn credentials_without_an_end_are_looked_up_again_after_a_while() {
        let (clock, _, kept) = kept(None);
        assert_eq!(key(&kept).await, "key0");
        clock.set(15 * 60_000 - 1);
        assert_eq!(key(&kept).await, "key0");
        clock.set(15 * 60_000);
        assert_eq!(key(&kept).await, "key1");
    }

    #[tokio::test]
    async fn while_they_cannot_be_renewed_the_old_ones_are_used_until_they_expire() {
        let (clock, role, kept) = kept(Some(60_000));
        assert_eq!(key(&kept).await, "key0");
        role.down.store(true, Ordering::SeqCst);
        clock.set(59_999);
        assert_eq!(key(&kept).await, "key0");
        clock.set(60_000);
        assert!(kept.provide_credentials().await.is_err());
        role.down.store(false, Ordering::SeqCst);
        assert_eq!(key(&kept).await, "key3");
    }
}
