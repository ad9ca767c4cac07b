"""The names of Glance's options of stores, by kind; a test holds them against glance_store's own."""

from __future__ import annotations

from types import MappingProxyType

# In the section of each of several stores.
OF_EACH = frozenset({"store_description", "weight"})

# Options that may be given several times.
MULTIPLE = frozenset({"filesystem_store_datadirs"})

OPTIONS_OF: MappingProxyType[str, frozenset[str]] = MappingProxyType(
    {
        "file": frozenset(
            {
                "filesystem_store_chunk_size",
                "filesystem_store_datadir",
                "filesystem_store_datadirs",
                "filesystem_store_file_perm",
                "filesystem_store_metadata_file",
                "filesystem_store_thread_pool_size",
                "filesystem_store_threadpool_threshold",
                "filesystem_store_timeout",
                "filesystem_thin_provisioning",
            }
        ),
        "http": frozenset(
            {
                "http_proxy_information",
                "https_ca_certificates_file",
                "https_insecure",
            }
        ),
        "swift": frozenset(
            {
                "default_swift_reference",
                "swift_buffer_on_upload",
                "swift_store_admin_tenants",
                "swift_store_application_credential_id",
                "swift_store_application_credential_secret",
                "swift_store_auth_address",
                "swift_store_auth_insecure",
                "swift_store_auth_version",
                "swift_store_cacert",
                "swift_store_config_file",
                "swift_store_container",
                "swift_store_create_container_on_put",
                "swift_store_endpoint",
                "swift_store_endpoint_type",
                "swift_store_expire_soon_interval",
                "swift_store_key",
                "swift_store_large_object_chunk_size",
                "swift_store_large_object_size",
                "swift_store_multi_tenant",
                "swift_store_multiple_containers_seed",
                "swift_store_project_id",
                "swift_store_project_name",
                "swift_store_region",
                "swift_store_retry_get_count",
                "swift_store_service_type",
                "swift_store_ssl_compression",
                "swift_store_use_trusts",
                "swift_store_user",
                "swift_upload_buffer_dir",
            }
        ),
        "s3": frozenset(
            {
                "s3_store_access_key",
                "s3_store_bucket",
                "s3_store_bucket_url_format",
                "s3_store_cacert",
                "s3_store_create_bucket_on_put",
                "s3_store_enable_data_integrity_protection",
                "s3_store_host",
                "s3_store_large_object_chunk_size",
                "s3_store_large_object_size",
                "s3_store_region_name",
                "s3_store_request_checksum_calculation",
                "s3_store_response_checksum_validation",
                "s3_store_secret_key",
                "s3_store_thread_pools",
            }
        ),
        "rbd": frozenset(
            {
                "rados_connect_timeout",
                "rbd_store_ceph_conf",
                "rbd_store_chunk_size",
                "rbd_store_pool",
                "rbd_store_user",
                "rbd_thin_provisioning",
            }
        ),
    }
)
