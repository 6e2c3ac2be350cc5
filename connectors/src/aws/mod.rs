//! What all connectors of AWS services share: how a client finds its region and credentials, and what its errors say.
//!
//! Clients are those of the AWS SDK, with rustls on ring. Credentials come from the SDK's standard chain (environment,
//! profile, SSO, container, instance), from the profile that option `profile` names, or from a role that these are allowed to
//! assume (`credentials` keeps them).

mod calls;
mod credentials;
mod error;
mod role;

pub(crate) use calls::{START_ATTEMPTS, START_PATIENCE, first_call, outcome};
pub(crate) use error::is_too_large;
pub use error::{Answered, is_throttled, is_transient, service_error};

use std::time::Duration;

use aws_config::ecs::EcsCredentialsProvider;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_types::service_config::ServiceConfigKey;
use kinesql_engine::connector::{OptionKind, OptionSpec, Options};
use kinesql_engine::runtime::clock::SystemClock;
use kinesql_engine::{Error, Result};

use self::credentials::KeptCredentials;
use crate::causes::causes;

/// Times of a call of STS: of one attempt, and of all of them.
const STS_TIMEOUTS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(20));

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
    help: "URL of the service, for VPC endpoints and local servers; default: AWS_ENDPOINT_URL_… of the service, AWS_ENDPOINT_URL, or the region's own.",
};

/// Which part of `~/.aws`.
pub const PROFILE: OptionSpec = OptionSpec {
    name: "profile",
    kind: OptionKind::Text,
    required: false,
    default: None,
    help: "Profile of ~/.aws/config and ~/.aws/credentials, instead of credentials in the environment; default: AWS_PROFILE, or 'default'.",
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

    /// What the SDK's clients are made from. Reads files and the environment; asks no service but for credentials. Fails if there
    /// are none.
    pub async fn load(&self) -> Result<SdkConfig> {
        let http = http_client()?;
        let config = self.loader(&http, self.endpoint.as_deref()).load().await;
        if config.region().is_none() {
            return Err(Error::config("no AWS region is given")
                .with_hint("Add region = '…' to the options, or set the environment variable AWS_REGION."));
        }
        let found = match &self.profile {
            Some(profile) if !cfg!(test) => Some(of_profile(profile, &config, &http)),
            _ => config.credentials_provider(),
        };
        let found = found.ok_or_else(|| self.without_credentials())?;
        let provider = match &self.role_arn {
            Some(role_arn) => self.role(role_arn, found, &http).await,
            None => found,
        };
        let kept = SharedCredentialsProvider::new(KeptCredentials::new(provider, SystemClock::shared()));
        match kept.provide_credentials().await {
            Err(CredentialsError::CredentialsNotLoaded(_)) => return Err(self.without_credentials()),
            Err(error) if let Some(refusal) = role::refusal(&error, &self.role_subject()) => return Err(refusal),
            Err(error @ CredentialsError::InvalidConfiguration(_)) => {
                return Err(Error::config(format!("the AWS credentials cannot be used: {}", causes(&error)))
                    .with_hint("Check the profile in ~/.aws/config and ~/.aws/credentials, and the role."));
            }
            // What else is wrong may pass: the calls that need them say so.
            _ => {}
        }
        Ok(config.into_builder().credentials_provider(kept).build())
    }

    fn loader(&self, http: &SharedHttpClient, endpoint: Option<&str>) -> aws_config::ConfigLoader {
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http.clone());
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        #[cfg(test)]
        let loader = loader.credentials_provider(aws_credential_types::Credentials::new("test", "test", None, None, "test"));
        loader
    }

    /// The role, assumed with `credentials`. Option `endpoint` is another service's: STS is where AWS_ENDPOINT_URL_STS,
    /// AWS_ENDPOINT_URL or the region say.
    async fn role(
        &self,
        role_arn: &str,
        credentials: SharedCredentialsProvider,
        http: &SharedHttpClient,
    ) -> SharedCredentialsProvider {
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(STS_TIMEOUTS.0).operation_timeout(STS_TIMEOUTS.1);
        let config = self.loader(http, None).timeout_config(timeouts.build()).credentials_provider(credentials).load().await;
        let mut role = aws_config::sts::AssumeRoleProvider::builder(role_arn).session_name("kinesql").configure(&config);
        if let Some(external_id) = &self.external_id {
            role = role.external_id(external_id);
        }
        SharedCredentialsProvider::new(role.build().await)
    }

    /// The role that is assumed, for messages: that of the option, else one that the profile names.
    fn role_subject(&self) -> String {
        match (&self.role_arn, &self.profile) {
            (Some(role_arn), _) => format!("role \"{role_arn}\""),
            (None, Some(profile)) => format!("the role of profile \"{profile}\""),
            (None, None) => "the profile's role".to_owned(),
        }
    }

    fn without_credentials(&self) -> Error {
        match &self.profile {
            Some(profile) => Error::config(format!("no AWS credentials are found for profile \"{profile}\""))
                .with_hint("The profile must be in ~/.aws/config or ~/.aws/credentials, with keys, a role or a session of SSO."),
            None => Error::config("no AWS credentials are found").with_hint(
                "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile of ~/.aws with the option \"profile\".",
            ),
        }
    }
}

/// Credentials of a profile that the user has named: unlike those of AWS_PROFILE they do not yield to keys in the environment, as
/// with `--profile` of the AWS CLI. A profile without any is used with those of the container or the machine.
fn of_profile(profile: &str, config: &SdkConfig, http: &SharedHttpClient) -> SharedCredentialsProvider {
    let config = ProviderConfig::without_region().with_region(config.region().cloned()).with_http_client(http.clone());
    let own = ProfileFileCredentialsProvider::builder().configure(&config).profile_name(profile).build();
    let container = EcsCredentialsProvider::builder().configure(&config).build();
    let machine = ImdsCredentialsProvider::builder().configure(&config).build();
    let chain = CredentialsProviderChain::first_try("Profile", own).or_else("Container", container).or_else("Machine", machine);
    SharedCredentialsProvider::new(chain)
}

/// Where a service is if no client of the SDK finds it out, as for S3: option `endpoint`, AWS_ENDPOINT_URL_S3, the profile's own,
/// AWS_ENDPOINT_URL. None: at the region's own address.
pub(crate) fn endpoint_of(config: &SdkConfig, service_id: &'static str) -> Option<String> {
    let general = || config.endpoint_url().map(str::to_owned);
    if config.get_origin("endpoint_url").is_client_config() {
        return general();
    }
    let key = ServiceConfigKey::builder().service_id(service_id).env("AWS_ENDPOINT_URL").profile("endpoint_url").build().ok();
    key.and_then(|key| config.service_config()?.load_config(key)).or_else(general)
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
    use aws_types::origin::Origin;
    use aws_types::service_config::LoadServiceConfig;
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
    fn a_service_is_where_its_own_variable_says_unless_an_option_does() {
        /// AWS_ENDPOINT_URL_S3.
        #[derive(Debug)]
        struct OfS3;
        impl LoadServiceConfig for OfS3 {
            fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
                let (variable, setting) = (key.env(), key.profile());
                assert_eq!((variable, setting), ("AWS_ENDPOINT_URL", "endpoint_url"));
                (key.service_id() == "S3").then(|| "http://s3".to_owned())
            }
        }
        let config = |origin: Origin| {
            let mut config = SdkConfig::builder().endpoint_url("http://all").service_config(OfS3);
            config.insert_origin("endpoint_url", origin);
            config.build()
        };
        let of_variable = config(Origin::shared_environment_variable());
        assert_eq!(endpoint_of(&of_variable, "S3").as_deref(), Some("http://s3"));
        assert_eq!(endpoint_of(&of_variable, "SQS").as_deref(), Some("http://all"));
        assert_eq!(endpoint_of(&config(Origin::shared_config()), "S3").as_deref(), Some("http://all"), "as an option gives it");
    }

    #[test]
    fn clients_use_rustls_on_ring() {
        http_client().expect("a client with the system's certificates");
    }
}
