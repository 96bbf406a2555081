#pragma once
/* The version of every program of this release (semver). */
#ifndef MUSTER_VERSION /* the tests of self-update build another one */
#define MUSTER_VERSION "0.1.0"
#endif
