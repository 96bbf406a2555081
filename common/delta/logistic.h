#pragma once
/* Logarithms, and logarithms of odds and their inverse as tables, that are the same on every machine: they are made
 * with + - * / only. Internal to common/delta. */

#include <stdint.h>

enum { LOGISTIC_STEPS = 4096 };

struct logistic {
    float odds[LOGISTIC_STEPS];        /* ln(p / (1 - p)) of p = (i + 0.5) / 4096 */
    float probability[LOGISTIC_STEPS]; /* of odds from -LOGISTIC_RANGE to LOGISTIC_RANGE */
};

#define LOGISTIC_RANGE 12.0F

void logistic_init(struct logistic *logistic);

/* Natural logarithm of x, held to -690 … 690: m * 2^n, and the series of artanh for m. */
double logistic_ln(double x);
