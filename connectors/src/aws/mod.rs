//! What all connectors of AWS services share: how a client finds its region and credentials, and what its errors say.
//!
//! Clients are those of the AWS SDK, with rustls on ring. Credentials come from the SDK's standard chain (environment,
//! profile, SSO, container, instance), or from a role that these are allowed to assume.

mod calls;
mod error;

pub(crate) use calls::{first_call, outcome};
pub use error::{is_throttled, is_transient, service_error};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use kinesql_engine::connector::{OptionKind, OptionSpec, Options};
use kinesql_engine::{Error, Result};

/// Where the service is.
pub const REGION: OptionSpec = OptionSpec {
    name: "region",
    kind: OptionKind::Text,
    required: false,
    default: None,
    help: "AWS region, such as us-east-1; default: that of the ARN, of AWS_REGION or of the profile.",
};

/// Another server than the service's own.
pub const ENDPOINT: OptionSpec = OptionSpec {
    name: "endpoint",
    kind: OptionKind::Text,
    required: false,
    default: None,
    help: "URL of the service, for VPC endpoints and local servers; default: AWS_ENDPOINT_URL, or the region's own.",
};

/// Which part of `~/.aws`.
pub const PROFILE: OptionSpec = OptionSpec {
    name: "profile",
    kind: OptionKind::Text,
    required: false,
    default: None,
    help: "Profile of ~/.aws/config and ~/.aws/credentials; default: AWS_PROFILE, or 'default'.",
};

/// A role to assume.
pub const ROLE_ARN: OptionSpec = OptionSpec {
    name: "role_arn",
    kind: OptionKind::Text,
    required: false,
    default: None,
    help: "ARN of a role to assume, with the credentials that are found otherwise.",
};

/// What the role may ask for.
pub const EXTERNAL_ID: OptionSpec = OptionSpec {
    name: "external_id",
    kind: OptionKind::Text,
    required: false,
    default: None,
    help: "External id that the role's trust policy asks for.",
};

/// How a connector reaches its service: the values of the options above.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AwsOptions {
    region: Option<String>,
    endpoint: Option<String>,
    profile: Option<String>,
    role_arn: Option<String>,
    external_id: Option<String>,
}

impl AwsOptions {
    /// Reads the options of a connector. `arn`, if the connector is told one, names the region unless `region` does.
    pub fn try_new(options: &Options, arn: Option<&str>) -> Result<Self> {
        let text = |name: &str| options.text(name).map(str::to_owned);
        let of_arn = arn.and_then(region_of_arn).map(str::to_owned);
        let new = Self {
            region: text("region").or(of_arn),
            endpoint: text("endpoint"),
            profile: text("profile"),
            role_arn: text("role_arn"),
            external_id: text("external_id"),
        };
        if new.external_id.is_some() && new.role_arn.is_none() {
            return Err(Error::config("option \"external_id\" has no meaning without a role")
                .with_hint("Add role_arn = '…', the role whose trust policy asks for the external id."));
        }
        Ok(new)
    }

    /// The same, but the service is at `endpoint`.
    pub fn with_endpoint(self, endpoint: &str) -> Self {
        Self { endpoint: Some(endpoint.to_owned()), ..self }
    }

    /// The same, but the service is where the SDK looks for it.
    pub fn without_endpoint(self) -> Self {
        Self { endpoint: None, ..self }
    }

    /// The URL that option endpoint says.
    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    /// What the SDK's clients are made from. Reads files and the environment; asks no service yet but for a role.
    pub async fn load(&self) -> Result<SdkConfig> {
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http_client()?);
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &self.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        #[cfg(test)]
        let loader = loader.credentials_provider(aws_credential_types::Credentials::new("test", "test", None, None, "test"));
        let base = loader.load().await;
        if base.region().is_none() {
            return Err(Error::config("no AWS region is given")
                .with_hint("Add region = '…' to the options, or set the environment variable AWS_REGION."));
        }
        let Some(role_arn) = &self.role_arn else { return Ok(base) };
        let mut role = aws_config::sts::AssumeRoleProvider::builder(role_arn).session_name("kinesql").configure(&base);
        if let Some(external_id) = &self.external_id {
            role = role.external_id(external_id);
        }
        let credentials = aws_credential_types::provider::SharedCredentialsProvider::new(role.build().await);
        Ok(base.into_builder().credentials_provider(credentials).build())
    }
}

/// The region of an ARN: `arn:partition:service:region:account:resource`.
pub fn region_of_arn(arn: &str) -> Option<&str> {
    arn.strip_prefix("arn:")?.split(':').nth(2).filter(|region| !region.is_empty())
}

/// Certificates: the system's, and those of the file that `AWS_CA_BUNDLE` names, as for the AWS CLI.
fn http_client() -> Result<SharedHttpClient> {
    let mut trust = TrustStore::default();
    if let Some(path) = std::env::var_os("AWS_CA_BUNDLE") {
        let pem = std::fs::read(&path).map_err(|error| {
            Error::config(format!("cannot read the certificates '{}' of AWS_CA_BUNDLE", path.display())).with_cause(error)
        })?;
        trust = trust.with_pem_certificate(pem);
    }
    let tls = TlsContext::builder().with_trust_store(trust).build();
    let tls = tls.map_err(|error| Error::config("the certificates of AWS_CA_BUNDLE cannot be used").with_cause(error))?;
    Ok(aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).tls_context(tls).build_https())
}

#[cfg(test)]
mod tests {
    use kinesql_engine::connector::OptionEntry;

    use super::*;

    #[test]
    fn the_region_of_an_arn_counts_unless_another_is_given() {
        let specs = [&REGION, &ENDPOINT, &PROFILE, &ROLE_ARN, &EXTERNAL_ID];
        let options = |entries: &[(&str, &str)]| {
            let entries: Vec<_> = entries.iter().map(|(key, value)| OptionEntry::new(*key, *value)).collect();
            Options::check("connector 'kinesis'", &specs, &entries, None).expect("valid")
        };
        let arn = Some("arn:aws:kinesis:eu-west-1:123456789012:stream/ticks");
        assert_eq!(AwsOptions::try_new(&options(&[]), arn).expect("valid").region.as_deref(), Some("eu-west-1"));
        let given = AwsOptions::try_new(&options(&[("region", "us-east-1")]), arn).expect("valid");
        assert_eq!(given.region.as_deref(), Some("us-east-1"));
        let error = AwsOptions::try_new(&options(&[("external_id", "x")]), None).expect_err("no role");
        assert_eq!(error.message(), "option \"external_id\" has no meaning without a role");
    }

    #[test]
    fn clients_use_rustls_on_ring() {
        http_client().expect("a client with the system's certificates");
    }
}
