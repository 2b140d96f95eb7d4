#pragma once

#include <p2pdvm/runtime/impl/job_spec.ipp>
#include <p2pdvm/runtime/impl/native_driver.ipp>
#include <p2pdvm/runtime/impl/options.ipp>
#include <p2pdvm/runtime/impl/rank_runner.ipp>
#include <p2pdvm/runtime/impl/ticket.ipp>
