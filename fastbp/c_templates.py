"""The C that `fastbp.to_c` writes: a formula for each activation and loss, and the functions.

It is C as one would write it for doubles, with words to be filled in: ``real`` is the dtype of
the network, ``own_`` the prefix of everything that a header defines, and ``$word`` what
``c_source.py`` says. Where a formula comes from stands in ``kernels/activations.py`` and
``kernels/losses.py``.
"""

# Formulas ---------------------------------------------------------------------------------------

# Of each activation: f(z), and d f'(z) for a number d; the latter may use a = f(z). NaN stays NaN.
ACTIVATIONS = {
    "identity": ("z", "d"),
    "relu": ("z < 0.0 ? 0.0 : z", "z > 0.0 ? d : 0.0"),
    "leaky_relu": ("z > 0.0 ? z : 0.01 * z", "z > 0.0 ? d : 0.01 * d"),
    "elu": ("z > 0.0 ? z : expm1(z)", "z > 0.0 ? d : d * (a + 1.0)"),
    "tanh": ("tanh(z)", "d * (1.0 - a * a)"),
    "sigmoid": ("own_sigmoid(z)", "d * (a * (1.0 - a))"),
    "softplus": ("own_softplus(z)", "d * own_sigmoid(z)"),
    "gelu": (
        "z * own_normal(z)",
        "d * (own_normal(z) + z * 0.39894228040143268 * exp(-0.5 * z * z))",
    ),
    "gelu_tanh": ("0.5 * z * (1.0 + own_gelu_tanh(z))", "d * own_gelu_tanh_slope(z)"),
    "silu": ("z * own_sigmoid(z)", "d * own_silu_slope(z)"),
    "exp": ("exp(z)", "d * a"),
}

# Of each loss: an output's part of its value, and its derivative by a; for the last three, by z.
# They may use z, a, the target y and e = a - y; that of softmax, what is computed from all outputs.
LOSSES = {
    "squared_error": ("0.5 * e * e", "e"),
    "huber": (
        "fabs(e) <= 1.0 ? 0.5 * e * e : fabs(e) - 0.5",
        "e > 1.0 ? 1.0 : (e < -1.0 ? -1.0 : e)",
    ),
    "absolute_error": ("fabs(e)", "e > 0.0 ? 1.0 : (e < 0.0 ? -1.0 : 0.0)"),
    "poisson": ("a - y * z", "e"),
    "binary_cross_entropy": ("own_softplus(z) - y * z", "e"),
    "cross_entropy": ("y == 0.0 ? 0.0 : y * (most - z + log_sum)", "a * total - y"),
}
BY_Z = ("poisson", "binary_cross_entropy", "cross_entropy")

# Helpers, each after those that it calls.
HELPERS = {
    "own_sigmoid": """
static inline real own_sigmoid(real z)
{
    const real e = exp(-fabs(z));
    return (z >= 0.0 ? 1.0 : e) / (1.0 + e);
}
""",
    "own_softplus": """
static inline real own_softplus(real z)
{
    return (z > 0.0 ? z : 0.0) + log1p(exp(-fabs(z)));
}
""",
    "own_normal": """
/* Distribution function of the standard normal distribution. */
static inline real own_normal(real z)
{
    return 0.5 * (1.0 + erf(z * 0.70710678118654752));
}
""",
    "own_gelu_tanh": """
static inline real own_gelu_tanh(real z)
{
    return tanh(0.79788456080286536 * (z + 0.044715 * z * z * z));
}
""",
    "own_gelu_tanh_slope": """
static inline real own_gelu_tanh_slope(real z)
{
    const real t = own_gelu_tanh(z);
    const real inner = 0.79788456080286536 * (1.0 + 0.134145 * z * z);
    return 0.5 * (1.0 + t) + 0.5 * z * (1.0 - t * t) * inner;
}
""",
    "own_silu_slope": """
static inline real own_silu_slope(real z)
{
    const real s = own_sigmoid(z);
    return s * (1.0 + z * (1.0 - s));
}
""",
    "own_dot": """
/* Sum of v[k] * w[k], in eight sums that a compiler can keep in one vector. */
static inline real own_dot(const real *v, const real *w, int n)
{
    real s[8] = {0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0};
    int k = 0, j;
    for (; k + 8 <= n; k += 8)
        for (j = 0; j < 8; j++)
            s[j] += v[k + j] * w[k + j];
    for (; k < n; k++)
        s[k % 8] += v[k] * w[k];
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}
""",
    "own_softmax": """
static inline void own_softmax(const real *z, real *a, int n)
{
    real most = z[0], sum = 0.0;
    int k;
    for (k = 1; k < n; k++)
        most = z[k] > most ? z[k] : most;
    for (k = 0; k < n; k++) {
        a[k] = exp(z[k] - most);
        sum += a[k];
    }
    for (k = 0; k < n; k++)
        a[k] /= sum;
}
""",
}

# Layers -----------------------------------------------------------------------------------------

# Members of the structs of parameters and of units, and the variables of a step.
PARAMETERS_OF_LAYER = """\
    real W$l[$n_in][$n_out];
    real b$l[$n_out];
"""
UNITS_OF_LAYER = """\
    real z$l[$n_out], a$l[$n_out];
"""
DELTA_OF_LAYER = """\
    real delta$l[$n_out];
"""

# Forward, back, and the step.
SUMS = """\
    for (k = 0; k < $n_out; k++)
        u->z$l[k] = p->b$l[k];
    for (i = 0; i < $n_in; i++)
        for (k = 0; k < $n_out; k++)
            u->z$l[k] += $below[i] * p->W$l[i][k];
"""
UNITS = """\
    for (k = 0; k < $n_out; k++) {
        const real z = u->z$l[k];
        u->a$l[k] = $value;
    }
"""
SOFTMAX = """\
    own_softmax(u->z$l, u->a$l, $n_out);
"""
BACK = """\
    for (k = 0; k < $n_out; k++) {
$declared        const real d = own_dot(p->W$above[k], delta$above, $n_above);
        delta$l[k] = $times;
    }
"""
STEP = """\
    for (i = 0; i < $n_in; i++) {
        const real s = step * $below[i];
        for (k = 0; k < $n_out; k++)
            p->W$l[i][k] = keep * p->W$l[i][k] + s * delta$l[k];
    }
    for (k = 0; k < $n_out; k++)
        p->b$l[k] += step * delta$l[k];
"""

# Parts of the header ----------------------------------------------------------------------------

BEGINNING = """\
#ifndef FASTBP_own_h
#define FASTBP_own_h

#include <math.h>

#ifndef FASTBP_RESTRICT
#if !defined(__cplusplus)
#define FASTBP_RESTRICT restrict
#elif defined(__GNUC__) || defined(_MSC_VER)
#define FASTBP_RESTRICT __restrict
#else
#define FASTBP_RESTRICT
#endif
#endif
"""
PARAMETERS = """
enum { own_inputs = $n_x, own_outputs = $n };

/* W1[i][k] is the weight from input i to unit k of the first layer, and b1 are its biases. */
typedef struct {
$fields} own_parameters;
"""
FORWARD = """
typedef struct {
$units} own_units;

/* Sums z and outputs a of every layer. */
static inline void own_forward(const own_parameters *FASTBP_RESTRICT p,
        const real *FASTBP_RESTRICT x, own_units *FASTBP_RESTRICT u)
{
    int i, k;
$layers}
"""
PREPARE = """
/* Inputs of the network from raw numbers: standardised, and missing ones filled in and marked. */
static inline void own_prepare(const double *raw, real *x)
{
    int j, k = 0;
    for (j = 0; j < own_inputs; j++) {
        const int is_missing = isnan(raw[j]) ? 1 : 0;
        const double number = is_missing ? own_fill[j] : raw[j];
        x[k++] = (real)((number - own_mean[j]) / own_scale[j]);
        if (own_is_marked[j])
            x[k++] = is_missing ? 1.0 : 0.0;
    }
}
"""
PREPARED = """\
    real prepared[$n];
    own_prepare(x, prepared);
"""
PREPARED_TARGET = """\
    real scaled[$n];
    own_prepare_target(y, scaled);
"""
PREPARE_TARGET = """
/* Targets in the unit that the network learns. */
static inline void own_prepare_target(const double *y, real *scaled)
{
    int k;
    for (k = 0; k < own_outputs; k++)
        scaled[k] = (real)((y[k] - own_target_mean[k]) / own_target_scale[k]);
}
"""
PREDICT = """
/* Outputs of one sample; of a classifier, probabilities. */
static inline void own_predict(const own_parameters *p, const $x_type x[$n_x], $y_type out[$n])
{
    own_units u;
    int k;
$prepare    own_forward(p, $x, &u);
    for (k = 0; k < $n; k++)
        out[k] = $output;
}
"""
PREDICT_CLASS = """
/* Number of the likeliest class. */
static inline int own_predict_class(const own_parameters *p, const $x_type x[$n_x])
{
    own_units u;
    int k, best = 0;
$prepare    own_forward(p, $x, &u);
    for (k = 1; k < $n; k++)
        best = u.a$L[k] > u.a$L[best] ? k : best;
    return best;
}
"""
PREDICT_TRUTH = """
/* The likelier class, 0 or 1. */
static inline int own_predict_class(const own_parameters *p, const $x_type x[$n_x])
{
    own_units u;
$prepare    own_forward(p, $x, &u);
    return u.a$L[0] > 0.5;
}
"""
PREDICT_LABELS = """
/* 1 for each label that is likelier than not, else 0. */
static inline void own_predict_labels(const own_parameters *p, const $x_type x[$n_x],
        int labels[$n])
{
    own_units u;
    int k;
$prepare    own_forward(p, $x, &u);
    for (k = 0; k < $n; k++)
        labels[k] = u.a$L[k] > 0.5;
}
"""
LOSS = """
/* Loss of the sample that has gone forward, and its derivative by each z of the outputs. */
static inline real own_loss(const own_units *u, const real *y_of, real *delta)
{
    real loss = 0.0;
    int k;
$prelude    for (k = 0; k < $n; k++) {
$declared        loss += $value;
        delta[k] = $delta;
    }
    return loss;
}
"""
OF_SOFTMAX = """\
    real most = u->z$L[0], likeliest = u->a$L[0], total = y_of[0], log_sum;
    for (k = 1; k < $n; k++) {
        total += y_of[k];
        if (u->z$L[k] > most) {
            most = u->z$L[k];
            likeliest = u->a$L[k];
        }
    }
    log_sum = -log(likeliest); /* of the sum of e to the power z - most */
"""
LEARN = """
/* One step of SGD for one sample: W -= learning_rate * (weight * dW + weight_decay * W), and the
   same for b without decay. Returns the sample's loss before the step, not multiplied by weight;
   if it is not finite, nothing is learned. y: $targets. */
static inline real own_learn(own_parameters *FASTBP_RESTRICT p,
        const $x_type x[$n_x], const $y_type y[$n],
        real learning_rate, real weight_decay, real weight)
{
    const real step = -learning_rate * weight, keep = 1.0 - learning_rate * weight_decay;
    own_units units, *const u = &units;
$deltas    real loss;
    int i, k;
$prepare$prepare_target    own_forward(p, $x, u);
    loss = own_loss(u, $y, delta$L);
    if (!isfinite(loss))
        return loss;
$back$steps    return loss;
}
"""
LEARN_CLASS = """
/* The same for the number of a class; NAN, and nothing is learned, if there is no such class. */
static inline real own_learn_class(own_parameters *p, const $x_type x[$n_x], int label,
        real learning_rate, real weight_decay, real weight)
{
    real y[$n] = {0.0};
    if (label < 0 || label >= $n_classes)
        return NAN;
    $mark
    return own_learn(p, x, y, learning_rate, weight_decay, weight);
}
"""
TARGETS = {
    "cross_entropy": "probabilities of the classes, which sum to 1",
    "binary_cross_entropy": "from 0 to 1",
    "poisson": "at least 0",
}
