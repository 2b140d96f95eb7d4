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
