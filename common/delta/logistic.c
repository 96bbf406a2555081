#include "common/delta/logistic.h"

/* e to the power of x, for |x| <= 12: the series for x/1024, squared ten times. */
static double exponential(double x)
{
    const double part = x / 1024;
    double term = 1, sum = 1;
    for (int i = 1; i < 8; i++) {
        term = term * part / i;
        sum += term;
    }
    for (int i = 0; i < 10; i++)
        sum *= sum;
    return sum;
}

double logistic_ln(double x)
{
    const double ln2 = 0.69314718055994530942;
    if (!(x > 1e-300 && x < 1e300))
        return x > 1 ? 690 : -690;
    double twos = 0;
    while (x >= 1.5) {
        x /= 2;
        twos += ln2;
    }
    while (x < 0.75) {
        x *= 2;
        twos -= ln2;
    }
    const double ratio = (x - 1) / (x + 1);
    double power = ratio, sum = 0;
    for (int i = 1; i < 24; i += 2) {
        sum += power / i;
        power *= ratio * ratio;
    }
    return twos + 2 * sum;
}

void logistic_init(struct logistic *logistic)
{
    for (int i = 0; i < LOGISTIC_STEPS / 2; i++) {
        const double odds = logistic_ln((LOGISTIC_STEPS - i - 0.5) / (i + 0.5));
        logistic->odds[i] = (float)-odds;
        logistic->odds[LOGISTIC_STEPS - 1 - i] = (float)odds;
    }
    for (int i = 0; i < LOGISTIC_STEPS; i++) {
        const double odds = (i + 0.5 - LOGISTIC_STEPS / 2.0) * (2 * (double)LOGISTIC_RANGE / LOGISTIC_STEPS);
        logistic->probability[i] = (float)(1 / (1 + exponential(-odds)));
    }
}
