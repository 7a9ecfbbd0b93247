"""The classes that a Keras file may name: those of Keras 1, 2 and 3 that compute on tensors and do nothing else.

Absent, although they are classes of Keras: layers that are code (Lambda, TFSMLayer, JaxLayer, TorchModuleWrapper), read
a file that the configuration names (StringLookup, IntegerLookup, TextVectorization), call a method by its name
(ClassMethod, InstanceMethod, InstanceProperty), or call a function of the configuration (Map, Scan, Cond, WhileLoop).
"""

# Containers, layers, and the layers that hold an op, whose function has a table of its own.
_LAYERS = """
    Functional Model Sequential TFOpLambda SlicingOpLambda TensorFlowOpLayer InputLayer InputSpec
    Activation ActivityRegularization AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D
    AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D Add AdditiveAttention AlphaDropout Attention AugMix
    AutoContrast Average AveragePooling1D AveragePooling2D AveragePooling3D AvgPool1D AvgPool2D AvgPool3D
    BatchNormalization BatchNormalizationV1 BatchNormalizationV2 Bidirectional CategoryEncoding CenterCrop Concatenate
    ContrastLimitedAdaptiveHistogramEqualization Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose
    ConvLSTM1D ConvLSTM2D ConvLSTM3D Convolution1D Convolution1DTranspose Convolution2D Convolution2DTranspose
    Convolution3D Convolution3DTranspose Cropping1D Cropping2D Cropping3D CutMix Dense DepthwiseConv1D DepthwiseConv2D
    Discretization Dot Dropout ELU EinsumDense Embedding Equalization Flatten GRU GRUCell GaussianDropout GaussianNoise
    GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D GlobalAvgPool1D GlobalAvgPool2D
    GlobalAvgPool3D GlobalMaxPool1D GlobalMaxPool2D GlobalMaxPool3D GlobalMaxPooling1D GlobalMaxPooling2D
    GlobalMaxPooling3D GroupNormalization GroupQueryAttention Identity LSTM LSTMCell LayerNormalization LeakyReLU
    LocallyConnected1D LocallyConnected2D Masking MaxNumBoundingBoxes MaxPool1D MaxPool2D MaxPool3D MaxPooling1D
    MaxPooling2D MaxPooling3D Maximum MelSpectrogram Minimum MixUp MultiHeadAttention Multiply Normalization PReLU
    Permute Pipeline RMSNormalization RNN RandAugment RandomBrightness RandomColorDegeneration RandomColorJitter
    RandomContrast RandomCrop RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale
    RandomHeight RandomHue RandomInvert RandomPerspective RandomPosterization RandomRotation RandomSaturation
    RandomSharpness RandomShear RandomTranslation RandomWidth RandomZoom ReLU RepeatVector Rescaling Reshape Resizing
    ReversibleEmbedding STFTSpectrogram SeparableConv1D SeparableConv2D SeparableConvolution1D SeparableConvolution2D
    SimpleRNN SimpleRNNCell Softmax Solarization SpatialDropout1D SpatialDropout2D SpatialDropout3D
    SpectralNormalization StackedRNNCells Subtract SyncBatchNormalization ThresholdedReLU TimeDistributed
    UnitNormalization UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D
"""

_INITIALIZERS = """
    Constant GlorotNormal GlorotUniform HeNormal HeUniform IdentityInitializer LecunNormal LecunUniform Ones Orthogonal
    OrthogonalInitializer RandomNormal RandomUniform STFT STFTInitializer TruncatedNormal VarianceScaling Zeros
    constant glorot_normal glorot_uniform he_normal he_uniform identity lecun_normal lecun_uniform normal one ones
    orthogonal random_normal random_uniform stft truncated_normal uniform variance_scaling zero zeros
"""

_REGULARIZERS = "L1 L1L2 L2 OrthogonalRegularizer l1 l1_l2 l2 orthogonal_regularizer"

_CONSTRAINTS = """
    MaxNorm MinMaxNorm NonNeg RadialConstraint UnitNorm
    max_norm maxnorm min_max_norm non_neg nonneg radial_constraint unit_norm unitnorm
"""

# The operations that Keras 3 records for operators and for functions of `keras.ops`.
_OPERATIONS = """
    Abs Absolute All AllClose Amax Amin Angle Any Append Arange Arccos Arccosh Arcsin Arcsinh Arctan Arctan2 Arctanh
    Argmax Argmin Argpartition Argsort Array ArraySplit Bincount BitwiseAnd BitwiseInvert BitwiseLeftShift BitwiseNot
    BitwiseOr BitwiseRightShift BitwiseXor BroadcastTo Cbrt Ceil Clip Conj Conjugate Copy Correlate Cos Cosh
    CountNonzero Cross Cumprod Cumsum Deg2rad Diag Diagflat Diagonal Diff Digitize Divide DivideNoNan Dsplit Dstack
    Einsum EmptyLike Equal Exp Exp2 ExpandDims Expm1 Fabs Flip Fliplr Flipud Floor FloorDivide Fmax Fmin Fmod Full
    FullLike Gcd GetItem Greater GreaterEqual Heaviside Histogram Hsplit Hstack Hypot I0 Imag Inner IsIn Isclose
    Isfinite Isinf Isnan Isneginf Isposinf Isreal Kron Lcm Ldexp LeftShift Less LessEqual Linspace Log Log10 Log1p Log2
    Logaddexp Logaddexp2 LogicalAnd LogicalNot LogicalOr LogicalXor Logspace Matmul Max Mean Median Meshgrid Min Mod
    Moveaxis NanToNum Nanargmax Nanargmin Nancumprod Nancumsum Nanmax Nanmean Nanmedian Nanmin Nanpercentile Nanprod
    Nanquantile Nanstd Nansum Nanvar Ndim Negative Nextafter Nonzero NotEqual OnesLike Outer Pad Percentile Power Prod
    Ptp Quantile Rad2deg Ravel Real Reciprocal Repeat RightShift Roll Rot90 Round SearchSorted Select Sign Signbit Sin
    Sinc Sinh Size Slogdet Sort Split Sqrt Square Squeeze Stack Std Sum Swapaxes Take TakeAlongAxis Tan Tanh Tensordot
    Tile Trace Transpose Trapezoid Tril Triu TrueDivide Trunc UnravelIndex Var Vdot View Vsplit Vstack Where ZerosLike
    AdaptiveAveragePool AdaptiveMaxPool AveragePool BatchNorm Celu Conv ConvTranspose DepthToSpace DepthwiseConv
    DotProductAttention Elu Fold Gelu Glu HardShrink HardSigmoid HardSilu HardTanh LayerNorm LeakyRelu LogSigmoid
    LogSoftmax MaxPool Moments Normalize OneHot PSNR RMSNorm Relu Relu6 Selu SeparableConv Sigmoid Silu SoftShrink
    Softplus Softsign SpaceToDepth SparsePlus SparseSigmoid Sparsemax Squareplus TanhShrink Threshold Unfold
    CDist Erf Erfc Erfinv ExtractSequences FFT FFT2 IFFT2 IRFFT ISTFT InTopK Logdet Logsumexp RFFT Rsqrt SegmentMax
    SegmentMin SegmentProd SegmentSum TopK ViewAsComplex ViewAsReal Cholesky CholeskyInverse Det Eig Eigh Inv Lstsq
    LuFactor MatrixRank Norm Pinv Qr SVD Solve SolveTriangular AffineTransform CropImages ElasticTransform
    ExtractPatches GaussianBlur HSVToRGB MapCoordinates PadImages PerspectiveTransform RGBToGrayscale RGBToHSV Resize
    SSIM ScaleAndTranslate SobelEdges Cast ConvertToTensor SaturateCast Scatter ScatterUpdate Slice SliceUpdate
    StopGradient Unstack
"""

# Inner models may keep their settings of training, and every layer its policy of data types.
_TRAINING = """
    Adadelta Adafactor Adagrad Adam AdamW Adamax Ftrl Lamb Lion Muon Nadam RMSprop SGD
    BinaryCrossentropy BinaryFocalCrossentropy CategoricalCrossentropy CategoricalFocalCrossentropy CategoricalHinge
    CosineSimilarity Hinge Huber KLDivergence LogCosh MeanAbsoluteError MeanAbsolutePercentageError MeanSquaredError
    MeanSquaredLogarithmicError Poisson SparseCategoricalCrossentropy SquaredHinge AUC Accuracy BinaryAccuracy
    CategoricalAccuracy F1Score Precision Recall SparseCategoricalAccuracy TopKCategoricalAccuracy
    DTypePolicy FloatDTypePolicy QuantizedDTypePolicy Policy PolicyV1
"""

# Values that JSON lacks, which become data and never an object of a named class.
_VALUES = "TensorShape __bytes__ __ellipsis__ __keras_tensor__ __numpy__ __slice__ __tensor__ __tuple__"

CLASSES = frozenset(
    " ".join(
        (_LAYERS, _INITIALIZERS, _REGULARIZERS, _CONSTRAINTS, _OPERATIONS, _TRAINING, _VALUES),
    ).split()
)
