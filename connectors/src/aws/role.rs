//! The error of a role that cannot be assumed, which comes as a cause of an error of credentials.

use std::error::Error as _;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata as _;
use kinesql_engine::{Error, ErrorKind};

use super::error::{is_denied, service_error};

/// What STS said of `role`, if it refused the role and another attempt does not help; None for every other error.
pub(super) fn refusal(error: &CredentialsError, role: &str) -> Option<Error> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(refused) = cause.downcast_ref::<SdkError<AssumeRoleError, HttpResponse>>() {
            let said = service_error("sts:AssumeRole", role, refused);
            let said = match refused.code() {
                Some(code) if is_denied(code) => said.with_hint(
                    "Allow the action sts:AssumeRole on the role for these credentials, name them in the role's trust policy, \
                     and check external_id if the policy asks for one.",
                ),
                _ => said,
            };
            return (said.kind() == ErrorKind::Config).then_some(said);
        }
        next = cause.source();
    }
    None
}
