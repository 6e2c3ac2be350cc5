//! Where objects are: a path, the options of its service, and the store behind both.

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use kinesql_engine::connector::{OptionKind, OptionSpec, Options};
use kinesql_engine::{Error, Result};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig};
use tokio::sync::OnceCell;

use super::credentials::SdkCredentials;
use super::error::{Call, store_error};
use super::open_uploads::OpenUploads;
use crate::aws::{AwsOptions, endpoint_of};
use crate::causes::causes;

/// Longest time of a request that moves much: a part of 8 MB over a slow line, or an object that is read as it is decoded.
const LONG_TIMEOUT: Duration = Duration::from_secs(300);

/// Longest time of any other request: an endpoint may take connections and never answer.
const SHORT_TIMEOUT: Duration = Duration::from_secs(30);

/// What the client itself does about a request that fails: for some seconds. What goes on longer is `insistence`'s.
fn retries() -> RetryConfig {
    let backoff = BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2), base: 2.0 };
    RetryConfig { backoff, max_retries: 5, retry_timeout: SHORT_TIMEOUT }
}

/// A kind of store, under the name of its connector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Amazon S3 and what speaks its protocol; also `file://` folders, to try things out.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
}

/// The path of a source or sink.
pub(super) const PATH: OptionSpec = OptionSpec {
    name: "path",
    kind: OptionKind::Text,
    required: true,
    default: None,
    help: "An object, such as s3://bucket/devices.csv; ending in '/', all objects whose keys begin so.",
};

impl Service {
    /// The connector's name.
    pub fn name(self) -> &'static str {
        match self {
            Service::S3 => "s3",
            Service::Gcs => "gcs",
            Service::Azure => "azure",
        }
    }

    /// The form of its paths.
    fn form(self) -> &'static str {
        match self {
            Service::S3 => "s3://bucket/prefix/ or file:///folder/",
            Service::Gcs => "gs://bucket/prefix/",
            Service::Azure => "az://container/prefix/",
        }
    }
}

/// What a path names.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) service: Service,
    /// As the user wrote it.
    pub(super) url: String,
    /// What stands before every key: `s3://bucket/`.
    base: String,
    /// Bucket or container; None for a local folder.
    bucket: Option<String>,
    /// The key, or what keys begin with: then it ends in `/` or is empty.
    pub(super) root: String,
    aws: AwsOptions,
    store: OnceCell<Store>,
    /// What answers is known to be the service.
    checked: OnceCell<()>,
}

/// An open store.
#[derive(Debug, Clone)]
pub(super) struct Store {
    pub(super) objects: Arc<dyn ObjectStore>,
    /// The same for requests that are answered at once, or never.
    pub(super) quick: Arc<dyn ObjectStore>,
    /// None for a local folder.
    pub(super) parts: Option<Arc<dyn PartStore>>,
    /// None where there is no list of them.
    pub(super) open_uploads: Option<Arc<OpenUploads>>,
}

/// A store of multipart uploads that survive the process that began them.
pub(super) trait PartStore: MultipartStore + std::fmt::Debug {}

impl<T: MultipartStore + std::fmt::Debug> PartStore for T {}

impl Place {
    /// Reads option `path` and those of the service.
    pub(super) fn of(service: Service, options: &Options) -> Result<Self> {
        let url = options.text(PATH.name).unwrap_or_default();
        let wrong = |why: &str| {
            Error::config(format!("option \"path\" of connector '{}' cannot be '{url}': {why}", service.name()))
                .with_hint(format!("Write it as {}.", service.form()))
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("it has no scheme"))?;
        let of_service = match scheme {
            "s3" | "file" => Service::S3,
            "gs" => Service::Gcs,
            "az" | "abfs" | "abfss" => Service::Azure,
            _ => return Err(wrong("its scheme is unknown")),
        };
        if of_service != service {
            return Err(wrong(&format!("'{scheme}' is a scheme of connector '{}'", of_service.name())));
        }
        let (bucket, root) = match scheme {
            "file" => (None, rest.strip_prefix('/').ok_or_else(|| wrong("a local path is absolute"))?),
            _ => {
                let (bucket, root) = rest.split_once('/').unwrap_or((rest, ""));
                if bucket.is_empty() {
                    return Err(wrong("it has no bucket"));
                }
                (Some(bucket.to_owned()), root)
            }
        };
        if scheme != "file" && root.starts_with('/') {
            // The store's paths would leave it out.
            return Err(wrong("its key begins with '/'"));
        }
        let key = root.trim_end_matches('/');
        if let Err(error) = Path::parse(key) {
            return Err(wrong(&causes(&error)));
        }
        let base = &url[..url.len() - root.len()];
        let base = if base.ends_with('/') { base.to_owned() } else { format!("{base}/") };
        let aws = if service == Service::S3 { AwsOptions::try_new(options, None)? } else { AwsOptions::default() };
        let (url, root) = (url.to_owned(), root.to_owned());
        Ok(Self { service, url, base, bucket, root, aws, store: OnceCell::new(), checked: OnceCell::new() })
    }

    /// A place in a store of a test.
    #[cfg(test)]
    pub(super) fn in_store<T: ObjectStore + MultipartStore>(store: &Arc<T>, root: &str) -> Self {
        let objects = Arc::clone(store) as Arc<dyn ObjectStore>;
        let quick = Arc::clone(&objects);
        let parts = Some(Arc::clone(store) as Arc<dyn PartStore>);
        Self {
            service: Service::S3,
            url: format!("memory://{root}"),
            base: "memory://".to_owned(),
            bucket: None,
            root: root.to_owned(),
            aws: AwsOptions::default(),
            store: OnceCell::from(Store { objects, quick, parts, open_uploads: None }),
            checked: OnceCell::new(),
        }
    }

    /// True if it names several objects.
    pub(super) fn is_prefix(&self) -> bool {
        self.root.is_empty() || self.root.ends_with('/')
    }

    /// The key of what is called `name` below the place.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.root)
    }

    /// A key for messages.
    pub(super) fn url_of(&self, key: &str) -> String {
        format!("{}{key}", self.base)
    }

    /// The local folder or file; None for a service.
    pub(super) fn local_path(&self) -> Option<&FilePath> {
        let local = self.bucket.is_none() && self.url.starts_with("file://");
        local.then(|| FilePath::new(self.url.trim_start_matches("file://")))
    }

    /// The store; opened at the first call.
    pub(super) async fn store(&self) -> Result<&Store> {
        self.store.get_or_try_init(|| self.open()).await
    }

    /// Fails if an empty listing was none: the client takes any answer of status 200 for one, such as the page of a proxy.
    pub(super) async fn check_listing(&self) -> Result<()> {
        let Some(service) = &self.store().await?.open_uploads else { return Ok(()) };
        let check = async || match service.answers_listings(&self.root).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::config(format!("s3:ListBucket of '{}': the answer is no listing of S3", self.url))
                .with_hint("Check the endpoint: something else answers there.")),
            Err(error) => Err(store_error(self.service, Call::List, &self.url, error)),
        };
        self.checked.get_or_try_init(check).await.copied()
    }

    async fn open(&self) -> Result<Store> {
        let Some(bucket) = &self.bucket else {
            let local = Arc::new(LocalFileSystem::new().with_automatic_cleanup(false));
            return Ok(Store { quick: local.clone(), objects: local, parts: None, open_uploads: None });
        };
        // Once per process; another provider that is installed already does as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (long, short) = (client_options(LONG_TIMEOUT)?, client_options(SHORT_TIMEOUT)?);
        let unusable = |error| store_error(self.service, Call::List, &self.url, error);
        match self.service {
            Service::S3 => {
                let config = self.aws.load().await?;
                let credentials = config.credentials_provider().ok_or_else(|| Error::config("there are no AWS credentials"))?;
                let credentials = Arc::new(SdkCredentials(credentials));
                let region = config.region().map(ToString::to_string).unwrap_or_default();
                let endpoint = endpoint_of(&config, "S3");
                let mut builder = AmazonS3Builder::new()
                    .with_bucket_name(bucket)
                    .with_region(&region)
                    .with_credentials(Arc::clone(&credentials) as _)
                    .with_retry(retries());
                if let Some(endpoint) = &endpoint {
                    builder = builder.with_endpoint(endpoint);
                }
                let quick = builder.clone().with_client_options(short.clone()).build().map_err(unusable)?;
                let store = Arc::new(builder.with_client_options(long).build().map_err(unusable)?);
                // As the client itself addresses a bucket.
                let bucket_url = match endpoint {
                    Some(endpoint) => format!("{}/{bucket}", endpoint.trim_end_matches('/')),
                    None => format!("https://s3.{region}.amazonaws.com/{bucket}"),
                };
                let uploads = OpenUploads::try_new(&short, bucket_url, region, credentials).map_err(unusable)?;
                Ok(Store {
                    quick: Arc::new(quick),
                    objects: store.clone(),
                    parts: Some(store),
                    open_uploads: Some(Arc::new(uploads)),
                })
            }
            Service::Gcs => {
                let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket).with_retry(retries());
                let quick = builder.clone().with_client_options(short).build().map_err(unusable)?;
                let store = Arc::new(builder.with_client_options(long).build().map_err(unusable)?);
                Ok(Store { quick: Arc::new(quick), objects: store.clone(), parts: Some(store), open_uploads: None })
            }
            Service::Azure => {
                let builder = MicrosoftAzureBuilder::from_env().with_container_name(bucket).with_retry(retries());
                let quick = builder.clone().with_client_options(short).build().map_err(unusable)?;
                let store = Arc::new(builder.with_client_options(long).build().map_err(unusable)?);
                Ok(Store { quick: Arc::new(quick), objects: store.clone(), parts: Some(store), open_uploads: None })
            }
        }
    }
}

/// Certificates of the system and of `AWS_CA_BUNDLE`; plain HTTP for endpoints that say so.
fn client_options(timeout: Duration) -> Result<ClientOptions> {
    let mut options = ClientOptions::new().with_allow_http(true).with_timeout(timeout);
    if let Some(file) = std::env::var_os("AWS_CA_BUNDLE") {
        let shown = FilePath::new(&file).display().to_string();
        let pem = std::fs::read(&file).map_err(|error| {
            Error::config(format!("cannot read the certificates '{shown}' of AWS_CA_BUNDLE")).with_cause(error)
        })?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| {
            Error::config(format!("the certificates '{shown}' of AWS_CA_BUNDLE cannot be used")).with_cause(error)
        })?;
        for certificate in certificates {
            options = options.with_root_certificate(certificate);
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use kinesql_engine::connector::OptionEntry;

    use super::*;

    fn place(service: Service, path: &str) -> Result<Place> {
        let entries = [OptionEntry::new("path", path)];
        let specs = [&PATH];
        Place::of(service, &Options::check("connector", &specs, &entries, None).expect("valid"))
    }

    #[test]
    fn paths_name_buckets_and_keys() {
        for (service, path, bucket, root) in [
            (Service::S3, "s3://b/a/c.csv", Some("b"), "a/c.csv"),
            (Service::S3, "s3://b/a/", Some("b"), "a/"),
            (Service::S3, "s3://b", Some("b"), ""),
            (Service::S3, "file:///tmp/x/", None, "tmp/x/"),
            (Service::Gcs, "gs://b/a/", Some("b"), "a/"),
            (Service::Azure, "az://c/a.json", Some("c"), "a.json"),
        ] {
            let found = place(service, path).expect(path);
            assert_eq!((found.bucket.as_deref(), found.root.as_str()), (bucket, root), "{path}");
            assert_eq!(found.url_of(&found.root), if path == "s3://b" { "s3://b/" } else { path });
            assert_eq!(found.is_prefix(), path.ends_with('/') || path == "s3://b", "{path}");
        }
    }

    #[test]
    fn wrong_paths_say_what_is_expected() {
        for (service, path, why) in [
            (Service::S3, "bucket/a", "it has no scheme"),
            (Service::S3, "s3:///a", "it has no bucket"),
            (Service::S3, "s3://b//x.csv", "its key begins with '/'"),
            (Service::S3, "gs://b/a", "'gs' is a scheme of connector 'gcs'"),
            (Service::S3, "ftp://b/a", "its scheme is unknown"),
            (Service::S3, "file://a", "a local path is absolute"),
            (Service::S3, "s3://b/a//b", "empty path segment"),
        ] {
            let error = place(service, path).expect_err(path).to_string();
            assert!(error.contains(why), "{path}: {error}");
            assert!(error.contains("Write it as s3://bucket/prefix/"), "{error}");
        }
    }
}
