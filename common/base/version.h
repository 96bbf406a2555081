#pragma once
/* The version of every program of this release (semver). */
#define MUSTER_VERSION "0.1.0"
