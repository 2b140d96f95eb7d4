#pragma once

#include <p2pdvm/base/impl/address.ipp>
#include <p2pdvm/base/impl/assert.ipp>
#include <p2pdvm/base/impl/byte_size.ipp>
#include <p2pdvm/base/impl/bytes.ipp>
#include <p2pdvm/base/impl/errc.ipp>
