#pragma once

#include <p2pdvm/store/impl/memory_log.ipp>
#include <p2pdvm/store/impl/segment_compact.ipp>
#include <p2pdvm/store/impl/segment_format.ipp>
#include <p2pdvm/store/impl/segment_index.ipp>
#include <p2pdvm/store/impl/segment_load.ipp>
#include <p2pdvm/store/impl/segment_log.ipp>
#include <p2pdvm/store/impl/segment_sync.ipp>
