//! The AWS SDK's credentials for the S3 client: profiles, SSO, containers and roles work as for all other connectors.

use std::sync::Arc;

use async_trait::async_trait;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;

use crate::causes::causes;

/// Hands out what the provider keeps (`aws::credentials`): it is asked before every request.
#[derive(Debug)]
pub(super) struct SdkCredentials(pub(super) SharedCredentialsProvider);

#[async_trait]
impl CredentialProvider for SdkCredentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let found = self.0.provide_credentials().await;
        // There were some when the store was opened: those that cannot be renewed now may be later.
        let found = found.map_err(|error| object_store::Error::Generic {
            store: "S3",
            source: format!("no usable AWS credentials: {}", causes(&error)).into(),
        })?;
        Ok(Arc::new(AwsCredential {
            key_id: found.access_key_id().to_owned(),
            secret_key: found.secret_access_key().to_owned(),
            token: found.session_token().map(str::to_owned),
        }))
    }
}
