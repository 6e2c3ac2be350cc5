//! What is asked of S3 besides the object store's own calls: the multipart uploads of a bucket that are neither completed nor
//! aborted (`ListMultipartUploads`), and whether it is S3 that answers (`ListObjectsV2`).

use std::sync::Arc;

use object_store::aws::AwsAuthorizer;
use object_store::client::{HttpClient, HttpConnector as _, HttpRequest, HttpRequestBody, ReqwestConnector};
use object_store::{ClientOptions, CredentialProvider as _, Error as StoreError, Result};

use super::credentials::SdkCredentials;

/// Lists them.
#[derive(Debug)]
pub(super) struct OpenUploads {
    client: HttpClient,
    bucket_url: String,
    region: String,
    credentials: Arc<SdkCredentials>,
}

/// An upload that was begun.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OpenUpload {
    pub(super) key: String,
    pub(super) id: String,
}

impl OpenUploads {
    pub(super) fn try_new(
        options: &ClientOptions,
        bucket_url: String,
        region: String,
        credentials: Arc<SdkCredentials>,
    ) -> Result<Self> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(Self { client, bucket_url, region, credentials })
    }

    /// Those whose keys begin with `prefix`. Needs the permission `s3:ListBucketMultipartUploads`.
    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<OpenUpload>> {
        let mut uploads = Vec::new();
        let mut after: Option<OpenUpload> = None;
        loop {
            let mut url = format!("{}?prefix={}&uploads=", self.bucket_url, percent_encoded(prefix));
            if let Some(OpenUpload { key, id }) = &after {
                url = format!("{url}&key-marker={}&upload-id-marker={}", percent_encoded(key), percent_encoded(id));
            }
            let body = self.get(&url).await?;
            let found = each(&body, "Upload").map(|upload| OpenUpload { key: text(upload, "Key"), id: text(upload, "UploadId") });
            uploads.extend(found);
            if text(&body, "IsTruncated") != "true" {
                return Ok(uploads);
            }
            after = Some(OpenUpload { key: text(&body, "NextKeyMarker"), id: text(&body, "NextUploadIdMarker") });
        }
    }

    /// True if a listing of what begins with `prefix` is answered with one.
    pub(super) async fn answers_listings(&self, prefix: &str) -> Result<bool> {
        let body = self.get(&format!("{}?list-type=2&max-keys=1&prefix={}", self.bucket_url, percent_encoded(prefix))).await?;
        Ok(body.contains("<ListBucketResult"))
    }

    async fn get(&self, url: &str) -> Result<String> {
        let failed = |source| StoreError::Generic { store: "S3", source };
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.uri_mut() = url.parse().map_err(|error| failed(Box::from(format!("'{url}' is no address: {error}"))))?;
        let credential = self.credentials.get_credential().await?;
        AwsAuthorizer::new(&credential, "s3", &self.region).authorize(&mut request, None);
        let response = self.client.execute(request).await.map_err(|error| failed(Box::new(error)))?;
        let status = response.status();
        let body = response.into_body().bytes().await.map_err(|error| failed(Box::new(error)))?;
        let body = String::from_utf8_lossy(&body).into_owned();
        // In the words of the object store's own client.
        let refused = || failed(Box::from(format!("Server returned non-2xx status code: {status}: {body}")));
        if status.is_success() { Ok(body) } else { Err(refused()) }
    }
}

/// The contents of the elements `name`, one behind the other.
fn each<'a>(xml: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let (start, end) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = xml;
    std::iter::from_fn(move || {
        let (_, behind) = rest.split_once(&start)?;
        let (content, behind) = behind.split_once(&end)?;
        rest = behind;
        Some(content)
    })
}

/// The text of the first element `name`; empty if there is none.
fn text(xml: &str, name: &str) -> String {
    let content = each(xml, name).next().unwrap_or_default();
    let mut text = String::with_capacity(content.len());
    let mut parts = content.split('&');
    text.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (entity, rest) = part.split_once(';').unwrap_or(("", part));
        text.extend(character(entity));
        text.push_str(rest);
    }
    text
}

/// What `&entity;` stands for (XML 1.0, sections 4.1 and 4.6).
fn character(entity: &str) -> Option<char> {
    match entity {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = entity.strip_prefix('#')?;
            let code = match number.strip_prefix('x') {
                Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)
        }
    }
}

/// All but unreserved characters as `%XX` (RFC 3986, section 2.3), as signatures want it.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_apart() {
        let xml = "<?xml version=\"1.0\"?>\n<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>\n\
                   <Upload>\n<Key>out/a&amp;b &lt;&#233;&#x27;</Key><UploadId>1</UploadId></Upload>\
                   <Upload><UploadId>2</UploadId><Key>out/c</Key></Upload></ListMultipartUploadsResult>";
        let uploads: Vec<_> = each(xml, "Upload").map(|upload| (text(upload, "Key"), text(upload, "UploadId"))).collect();
        assert_eq!(uploads, [("out/a&b <é'", "1"), ("out/c", "2")].map(|(key, id)| (key.to_owned(), id.to_owned())));
        assert_eq!((text(xml, "IsTruncated").as_str(), text(xml, "Nothing").as_str()), ("false", ""));
    }

    #[test]
    fn prefixes_are_encoded_as_signatures_want_it() {
        assert_eq!(percent_encoded("out/a b=c~é"), "out%2Fa%20b%3Dc~%C3%A9");
    }
}
