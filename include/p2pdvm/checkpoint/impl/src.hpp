#pragma once

#include <p2pdvm/checkpoint/impl/acceptor.ipp>
#include <p2pdvm/checkpoint/impl/blocking_meter.ipp>
#include <p2pdvm/checkpoint/impl/certificate.ipp>
#include <p2pdvm/checkpoint/impl/cut.ipp>
#include <p2pdvm/checkpoint/impl/cut_facts.ipp>
#include <p2pdvm/checkpoint/impl/host_choice.ipp>
#include <p2pdvm/checkpoint/impl/job_record.ipp>
#include <p2pdvm/checkpoint/impl/policy.ipp>
#include <p2pdvm/checkpoint/impl/proposer.ipp>
#include <p2pdvm/checkpoint/impl/record_change.ipp>
#include <p2pdvm/checkpoint/impl/transitions.ipp>
