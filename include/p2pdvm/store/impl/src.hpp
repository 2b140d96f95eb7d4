#pragma once

#include <p2pdvm/store/impl/chunk.ipp>
#include <p2pdvm/store/impl/chunker.ipp>
#include <p2pdvm/store/impl/fetcher.ipp>
#include <p2pdvm/store/impl/fingerprint.ipp>
#include <p2pdvm/store/impl/holder.ipp>
#include <p2pdvm/store/impl/manifest.ipp>
#include <p2pdvm/store/impl/messages.ipp>
#include <p2pdvm/store/impl/placement.ipp>
#include <p2pdvm/store/impl/replicator.ipp>
#include <p2pdvm/store/impl/memory_log.ipp>
#include <p2pdvm/store/impl/segment_compact.ipp>
#include <p2pdvm/store/impl/segment_format.ipp>
#include <p2pdvm/store/impl/segment_index.ipp>
#include <p2pdvm/store/impl/segment_load.ipp>
#include <p2pdvm/store/impl/segment_log.ipp>
#include <p2pdvm/store/impl/segment_sync.ipp>
